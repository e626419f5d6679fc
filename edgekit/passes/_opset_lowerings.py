"""Newer forms of ops (opset 18 to 24) rewritten as opset 17 writes them; each says why where it can't."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, graph_of, input_of, static_shape

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgekit.passes._rewire import Names


def _reduce_axes(node: ir.Node, _: Names) -> str | None:
    """Reduce* 18: axes was an attribute; empty axes with noop_with_empty_axes=1 gives back the input."""
    axes, noop = input_of(node, 1), node.attributes.pop("noop_with_empty_axes", None)
    if axes is None:
        return "it reduces nothing" if noop is not None and noop.as_int() else None
    values = constant_array(axes)
    if values is None:
        return "its axes are computed"
    if not values.size and noop is not None and noop.as_int():
        return "it reduces nothing"
    node.resize_inputs(1)
    if values.size:
        node.attributes["axes"] = ir.AttrInt64s("axes", [int(axis) for axis in values])
    return None


def _split_sizes(node: ir.Node, names: Names) -> str | None:
    """Split 18: num_outputs parts of equal size, the last one smaller; opset 17 wants the sizes."""
    parts = node.attributes.pop("num_outputs", None)
    if parts is None:
        return None
    shape, axis = static_shape(node.inputs[0]), node.attributes.get("axis")
    if shape is None:
        return "its sizes are dynamic"
    total = shape[0 if axis is None else axis.as_int()]
    size = -(-total // parts.as_int())
    sizes = [min(size, total - start) for start in range(0, total, size)]
    sizes += [0] * (parts.as_int() - len(sizes))
    constant = names.add_initializer(
        graph_of(node), f"{node.outputs[0].name}/split", np.array(sizes, np.int64)
    )
    node.resize_inputs(2)
    node.replace_input_with(1, constant)
    return None


def _pad_axes(node: ir.Node, names: Names) -> str | None:
    """Pad 18: pads for some axes only; opset 17 wants all of them. Mode 'wrap' came with 19."""
    mode = node.attributes.get("mode")
    if mode is not None and mode.as_string() == "wrap":
        return "mode 'wrap' is newer"
    if input_of(node, 3) is None:
        node.resize_inputs(min(len(node.inputs), 3))
        return None
    pads, axes = constant_array(input_of(node, 1)), constant_array(input_of(node, 3))
    source = node.inputs[0]
    if pads is None or axes is None or source is None or source.shape is None:
        return "its axes are computed"
    rank = len(source.shape)
    full = np.zeros((2, rank), np.int64)
    full[:, [int(axis) % rank for axis in axes]] = pads.reshape(2, -1)
    name = f"{node.outputs[0].name}/pads"
    node.replace_input_with(1, names.add_initializer(graph_of(node), name, full.reshape(-1)))
    node.resize_inputs(3)
    return None


def _without(defaults: Mapping[str, int | str]) -> Callable[[ir.Node, Names], str | None]:
    """Drop newer attributes where they hold the value that stands for the old meaning."""

    def lowering(node: ir.Node, _: Names) -> str | None:
        for name, default in defaults.items():
            attribute = node.attributes.pop(name, None)
            if attribute is not None and attribute.value != default:
                return f"{name}={attribute.value} is newer"
        return None

    return lowering


def _resize(node: ir.Node, names: Names) -> str | None:
    """Resize 18 and 19: antialias, axes, aspect ratio; a new symmetric half-pixel mode."""
    mode = node.attributes.get("coordinate_transformation_mode")
    if mode is not None and mode.as_string() == "half_pixel_symmetric":
        return "coordinate_transformation_mode 'half_pixel_symmetric' is newer"
    if "axes" in node.attributes:
        return "it resizes named axes only"
    return _without({"antialias": 0, "keep_aspect_ratio_policy": "stretch"})(node, names)


def _average_pool(node: ir.Node, _: Names) -> str | None:
    """AveragePool 19: dilations; windows that ceil_mode lets hang over the edge are averaged otherwise."""
    dilations = node.attributes.get("dilations")
    if dilations is not None and any(step != 1 for step in dilations.as_ints()):
        return "dilations are newer"
    node.attributes.pop("dilations", None)
    mode = node.attributes.get("ceil_mode")
    return "ceil_mode=1 averages otherwise" if mode is not None and mode.as_int() else None


def _scatter(node: ir.Node, _: Names) -> str | None:
    """ScatterElements, ScatterND 18: reductions max and min are newer."""
    reduction = node.attributes.get("reduction")
    if reduction is not None and reduction.as_string() in ("max", "min"):
        return f"reduction '{reduction.as_string()}' is newer"
    return None


_QUANTIZE = _without({"saturate": 1, "block_size": 0, "output_dtype": 0, "precision": 0})
_REDUCTIONS = "L1 L2 LogSum LogSumExp Max Mean Min Prod SumSquare"
LOWERINGS: dict[str, Callable[[ir.Node, Names], str | None]] = {
    **{f"Reduce{name}": _reduce_axes for name in _REDUCTIONS.split()},
    "AveragePool": _average_pool,
    "Cast": _without({"saturate": 1, "round_mode": "up"}),
    "CastLike": _without({"saturate": 1, "round_mode": "up"}),
    "DequantizeLinear": _QUANTIZE,
    "Pad": _pad_axes,
    "QuantizeLinear": _QUANTIZE,
    "Resize": _resize,
    "ScatterElements": _scatter,
    "ScatterND": _scatter,
    "Split": _split_sizes,
}
