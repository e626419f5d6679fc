"""What passes read of squares and reductions, and how they put a reduction in, at any opset from 13 on."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, input_of

if TYPE_CHECKING:
    from collections.abc import Sequence

_AXES_ARE_INPUTS = {"ReduceSum": 13}  # from this opset on
_AXES_ARE_INPUTS_OF_OTHERS = 18


@dataclass(frozen=True)
class Reduction:
    """What a reduction over known axes reads, and how it reads it; the sizes may be open."""

    x: ir.Value
    axes: tuple[int, ...]
    keeps_dims: bool


def reduction_of(value: ir.Value | None, op: str) -> Reduction | None:
    """The float32 reduction by `op` that makes `value`, where its axes and the rank are known."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != op or node.domain or node.inputs[0] is None:
        return None
    x, attribute, axes = node.inputs[0], node.attributes.get("axes"), input_of(node, 1)
    shape, listed = x.shape, constant_array(axes)
    if shape is None or x.dtype != ir.DataType.FLOAT or (axes is not None and listed is None):
        return None
    found = attribute.as_ints() if attribute is not None else [] if listed is None else listed.tolist()
    if not found and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return None
    places = tuple(sorted(axis % len(shape) for axis in found or range(len(shape))))
    return Reduction(x, places, bool(node.attributes.get_int("keepdims", 1)))


def insert_reduction(
    node: ir.Node, op: str, reduction: Reduction, names: Names, *, keeps_dims: bool | None = None
) -> ir.Value:
    """The reduction by `op` in front of `node`; keeps_dims: other than the reduction's own."""
    keeps = int(reduction.keeps_dims if keeps_dims is None else keeps_dims)
    opset = graph_of(node).opset_imports.get("") or 0
    if opset < _AXES_ARE_INPUTS.get(op, _AXES_ARE_INPUTS_OF_OTHERS):
        return names.insert_before(node, op, [reduction.x], axes=reduction.axes, keepdims=keeps)
    axes = add_axes(node, reduction.x, reduction.axes, names)
    return names.insert_before(node, op, [reduction.x, axes], keepdims=keeps)


def add_axes(node: ir.Node, value: ir.Value, axes: Sequence[int], names: Names) -> ir.Value:
    """A constant list of axes, named after the value that they are of."""
    return names.add_initializer(graph_of(node), f"{value.name}/axes", np.array(axes, np.int64))


def square_root_of(value: ir.Value | None) -> ir.Value | None:
    """What `value` is the square of: v of v * v or v^2."""
    node = None if value is None else value.producer()
    if node is None or node.domain or node.op_type not in ("Mul", "Pow"):
        return None
    first, second = node.inputs[:2]
    if node.op_type == "Mul":
        return first if first is second else None
    power = constant_array(second)
    return first if power is not None and power.size == 1 and power.item() == 2 else None
