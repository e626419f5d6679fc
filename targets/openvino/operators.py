"""Which ONNX operators OpenVINO lacks or computes otherwise, and which edgekit writes out for it."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._lowering import functions_beyond
from edgekit._values import Gap
from edgekit.passes._rewire import constant_array, static_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir

    from edgekit._values import Component

# numpy types that inputs and outputs keep in OpenVINO; float64 is computed in float32 there.
_BORDER_TYPES = frozenset(
    (
        *("float16", "float32", "int8", "int16", "int32", "int64"),
        *("uint8", "uint16", "uint32", "uint64", "bool"),
    )
)


def ops_to_expand() -> frozenset[str]:
    """Operators that ONNX defines by others and that OpenVINO lacks or computes otherwise."""
    return frozenset(_table()["expanded"]["ops"]) & functions_beyond((), ())


def check_component(component: Component, target: str) -> list[Gap]:
    """A gap for each node that the table names; it is no proof that OpenVINO takes the others."""
    gaps = []
    for node in component.model.graph.all_nodes():
        row = _find(node)
        if row is not None:
            gaps.append(
                Gap(target, component.name, node.name or "", node.op_type, row["why"], row["way_out"])
            )
    return gaps


def _find(node: ir.Node) -> dict[str, Any] | None:
    """The first row of the table that the node falls under."""
    own = node.domain in ("", "ai.onnx")
    name = node.op_type if own else f"{node.domain}.{node.op_type}"
    refused: dict[str, dict[str, Any]] = _table()["refused"]
    if name in refused:
        return refused[name]
    rows: list[dict[str, Any]] = _table()["form"]
    return next((row for row in rows if row["op"] in (name, "*") and _holds(node, row)), None)


def _holds(node: ir.Node, row: dict[str, Any]) -> bool:
    if "condition" in row:
        return _CONDITIONS[row["condition"]](node)
    if "input" in row:
        return len(node.inputs) > row["input"] and node.inputs[row["input"]] is not None
    attribute = node.attributes.get(row["attribute"])
    return attribute is not None and attribute.value in row["values"]


def _cut_align_corners(node: ir.Node) -> bool:
    """Whether some axis's scaled length is no whole number, with align_corners and scales given."""
    mode = node.attributes.get("coordinate_transformation_mode")
    given = node.inputs[2] if len(node.inputs) > 2 else None
    if mode is None or mode.value != "align_corners" or given is None:
        return False
    scales, shape = constant_array(given), static_shape(node.inputs[0])
    if scales is None or shape is None:
        return True
    if not scales.size:
        return False
    axes = node.attributes["axes"].as_ints() if "axes" in node.attributes else range(len(shape))
    sizes = np.array([shape[axis] for axis in axes]) * scales
    return bool(np.any(np.abs(sizes - np.round(sizes)) > 1e-4))


def _window_past_the_end(node: ir.Node) -> bool:
    """Whether ceil_mode would round up to a window that begins behind the data and its padding."""
    windows = _rounded_up(node)
    return windows is None or any(count != -(-room // stride) + 1 for room, stride, count in windows)


def _window_over_counted_padding(node: ir.Node) -> bool:
    """Whether a window that counts the padding reaches past it, into what ceil_mode adds."""
    attributes = node.attributes
    if "count_include_pad" not in attributes or not attributes["count_include_pad"].as_int():
        return False
    if "pads" not in attributes or not any(attributes["pads"].as_ints()):
        return False
    windows = _rounded_up(node)
    return windows is None or any(room % stride for room, stride, _ in windows)


def _rounded_up(node: ir.Node) -> list[tuple[int, int, int]] | None:
    """(room for steps, stride, windows) of each axis under ceil_mode, else []; None where a size is open."""
    if "ceil_mode" not in node.attributes or not node.attributes["ceil_mode"].as_int():
        return []
    shape, out = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    if shape is None or out is None:
        return None
    kernel = node.attributes["kernel_shape"].as_ints()
    ones = [1] * len(kernel)
    strides = node.attributes["strides"].as_ints() if "strides" in node.attributes else ones
    dilations = node.attributes["dilations"].as_ints() if "dilations" in node.attributes else ones
    pads = node.attributes["pads"].as_ints() if "pads" in node.attributes else [0] * 2 * len(kernel)
    spans = [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]
    rooms = [
        size + pads[axis] + pads[axis + len(kernel)] - spans[axis] for axis, size in enumerate(shape[2:])
    ]
    return list(zip(rooms, strides, out[2:], strict=True))


def _reduces_nothing(node: ir.Node) -> bool:
    """Whether noop_with_empty_axes holds: no axes are given, or none are in them."""
    if "noop_with_empty_axes" not in node.attributes or not node.attributes["noop_with_empty_axes"].as_int():
        return False
    given = node.inputs[1] if len(node.inputs) > 1 else None
    axes = None if given is None else constant_array(given)
    return given is None or axes is None or not axes.size


def _without_elements(node: ir.Node) -> bool:
    """Vectors without entries are set aside: they stand for options that are not given (Resize's roi)."""
    constants = [value for value in node.inputs if value is not None and value.const_value is not None]
    vectors = [value for value in constants if len(static_shape(value) or ()) == 1]
    values = [value for value in (*node.inputs, *node.outputs) if value is not None and value not in vectors]
    shapes = [static_shape(value) for value in values]
    return any(shape is not None and 0 in shape for shape in shapes)


def _foreign_border(node: ir.Node) -> bool:
    """Whether the node reads an input of the model, or gives an output, of a type that does not stay."""
    inputs = [value for value in node.inputs if value is not None and value.is_graph_input()]
    outputs = [value for value in node.outputs if value.is_graph_output()]
    types = [value.dtype for value in (*inputs, *outputs) if value.dtype is not None]
    return any(dtype.numpy().name not in _BORDER_TYPES for dtype in types)


_CONDITIONS: dict[str, Callable[[ir.Node], bool]] = {
    "cut_align_corners": _cut_align_corners,
    "foreign_border": _foreign_border,
    "reduces_nothing": _reduces_nothing,
    "window_over_counted_padding": _window_over_counted_padding,
    "window_past_the_end": _window_past_the_end,
    "without_elements": _without_elements,
}


@cache
def _table() -> dict[str, Any]:
    return tomllib.loads((Path(__file__).parent / "operators.toml").read_text(encoding="utf-8"))
