"""Ops that become a GATHER of what they pick, or one matrix of what they weigh; see probe_map.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, constant, int32s
from edgekit.targets.litert.rules.matmul import fully_connected

_PICKING = {
    "MaxUnpool": "kernel_shape pads strides",
}
_WEIGHING = {
    "AffineGrid": "align_corners",
    "Col2Im": "dilations pads strides",
    "DeformConv": "dilations group kernel_shape offset_group pads strides",
    "RoiAlign": "coordinate_transformation_mode mode output_height output_width sampling_ratio spatial_scale",
}


def picked(call: Call) -> Tensor:
    """GATHER over all values in a row, with a zero behind them where the op makes zeros."""
    call.require(
        call.op != "MaxUnpool" or not call.has(2),
        "with output_shape, ONNX and ONNX Runtime compute differently",
        "leave output_shape out",
    )
    places = call.probe().picks()
    x = call.reshape(call.x, (call.x.size,))
    if np.any(places < 0):
        call.require(x.dtype == "float32", f"zeros among {x.dtype} have no LiteRT form")
        x = call.add("CONCATENATION", [x, constant(np.zeros(1, np.float32))], (x.size + 1,), axis=0)
        places = np.where(places < 0, call.x.size, places)
    made = call.add("GATHER", [x, int32s(places.reshape(-1).tolist())], (places.size,), axis=0)
    return call.reshape(made, call.out.shape)


def weighed(call: Call) -> Tensor:
    """FULLY_CONNECTED over all values in a row."""
    call.require(call.x_computed.dtype == "float32", f"LiteRT weighs no {call.x_computed.dtype}")
    return _as_matrix(call, *call.probe().weights())


def _as_matrix(call: Call, matrix: Any, offset: Any) -> Tensor:
    x = call.reshape(call.x_computed, (1, call.x_computed.size))
    made = fully_connected(call, x, constant(matrix), constant(offset))
    return call.reshape(made, call.out.shape)


for _op, _attributes in _PICKING.items():
    rule(_op, _attributes)(picked)
for _op, _attributes in _WEIGHING.items():
    rule(_op, _attributes)(weighed)


def scattered_once(call: Call) -> Tensor:
    """ScatterElements, ScatterND, TensorScatter with constant places, and constant data or updates."""
    reduction = call.text("reduction", "none")
    if call.x.data is None and call.op != "TensorScatter":
        return _scattered(call, reduction)
    call.require(reduction in ("none", "add"), f"computed updates by '{reduction}' have no LiteRT form")
    return weighed(call)


# Reduction -> the operator that joins data and updates, and the value that gives the updates alone.
_REDUCTIONS = {
    "add": ("ADD", 0.0),
    "max": ("MAXIMUM", -np.inf),
    "min": ("MINIMUM", np.inf),
    "mul": ("MUL", 1.0),
}


def _scattered(call: Call, reduction: str) -> Tensor:
    """Constant updates: they take the data's place, or are joined with it."""
    probe = call.probe()
    call.require(call.x.dtype == "float32", f"LiteRT scatters into no {call.x.dtype}")
    if reduction in _REDUCTIONS:
        code, neutral = _REDUCTIONS[reduction]
        return call.emit(code, [call.x, constant(probe.run(np.full(call.x.shape, neutral, np.float32)))])
    base = probe.run(np.zeros(call.x.shape, np.float32))
    kept = probe.run(np.ones(call.x.shape, np.float32)) - base == 1
    return call.emit("SELECT_V2", [constant(kept), call.x, constant(base)])
