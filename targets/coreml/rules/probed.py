"""Ops that become a gather of what they pick, or one matrix of what they weigh; see probe_map.py."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.graph import Tensor, constant

if TYPE_CHECKING:
    from edgekit._lowering import MapProbe

_WEIGHING = {
    "AffineGrid": "align_corners",
    "Col2Im": "dilations pads strides",
    "DeformConv": "dilations group kernel_shape offset_group pads strides",
    "RoiAlign": "coordinate_transformation_mode mode output_height output_width sampling_ratio spatial_scale",
    "STFT": "onesided",
    "TensorScatter": "axis mode",
}
_MOST_OF_DFT = 2048


def _probe(call: Call) -> MapProbe:
    """The node with its only computed operand, which must be float32."""
    computed = call.operand(call.only_computed)
    call.require(computed.dtype == "float32", f"it has no form on {computed.dtype}")
    return call.probe_of(computed.sizes)


def picked(call: Call) -> Tensor:
    """A gather over all values in a row, with a zero behind them where the op makes zeros."""
    probe = _probe(call)
    places = probe.picks()
    x = call.reshape(call.operand(probe.computed), (probe.size,))
    if np.any(places < 0):
        zero = constant(np.zeros(1, np.float32))
        x = call.add("concat", (probe.size + 1,), values=[x, zero], axis=0, interleave=False)
        places = np.where(places < 0, probe.size, places)
    indices = constant(places.reshape(-1).astype(np.int32))
    made = call.add("gather", (places.size,), x=x, indices=indices, axis=0, batch_dims=0)
    return call.reshape(made, call.out.shape)


def weighed(call: Call) -> Tensor:
    """One linear layer over all values in a row."""
    probe = _probe(call)
    matrix, offset = probe.weights()
    return _as_matrix(call, call.operand(probe.computed), matrix=matrix, offset=offset)


def _as_matrix(call: Call, x: Tensor, *, matrix: Any, offset: Any) -> Tensor:
    row = call.reshape(x, (1, x.size))
    bias = constant(offset) if np.any(offset) else None
    made = call.add(
        "linear", (1, len(matrix)), x=row, weight=constant(np.ascontiguousarray(matrix)), bias=bias
    )
    return call.reshape(made, call.out.shape)


for _op, _attributes in _WEIGHING.items():
    rule(_op, _attributes)(weighed)


@rule("Compress MaxUnpool", "axis kernel_shape pads strides")
def picking(call: Call) -> Tensor:
    """Y = some of X's values, and zeros."""
    call.require(
        call.op != "MaxUnpool" or not call.has(2),
        "with output_shape, ONNX and ONNX Runtime compute differently",
        "leave output_shape out",
    )
    return picked(call)


@rule("DFT", "axis inverse onesided")
def dft(call: Call) -> Tensor:
    """Y = the discrete Fourier transform of X [..., 1 or 2] along one axis, as a matrix in exact sines."""
    shape = call.x.sizes
    call.require(call.x.size <= _MOST_OF_DFT, f"{call.x.size} values are too many to write out as a matrix")
    axis = int(call.array(2)) if call.has(2) else call.integer("axis", -2 if call.opset >= 20 else 1)
    length = int(call.array(1)) if call.has(1) else shape[axis]
    inverse, onesided = call.integer("inverse", 0), call.integer("onesided", 0)
    call.require(not (inverse and onesided), "the inverse of a one-sided transform has no Core ML form here")
    basis = np.eye(call.x.size).reshape(call.x.size, *shape)
    values = basis[..., 0] + (1j * basis[..., 1] if shape[-1] == 2 else 0)
    transform = np.fft.ifft if inverse else np.fft.fft
    made = transform(values, length, axis % len(shape) + 1)
    if onesided:
        made = np.take(made, range(length // 2 + 1), axis % len(shape) + 1)
    both = np.stack([made.real, made.imag], -1).reshape(call.x.size, -1)
    return _as_matrix(
        call, call.x, matrix=both.T.astype(np.float32), offset=np.zeros(both.shape[1], np.float32)
    )
