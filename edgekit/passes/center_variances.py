"""A mean written as a sum times 1/n, a variance as E[x^2] - E[x]^2 -> forms whose numbers float16 holds.

The sum of 512 squares of numbers near 20 is above 65504, where float16 ends, and the difference of two large
numbers keeps none of its eleven bits. ReduceMean and E[(x - E[x])^2] are the same values and stay small.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import prod
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, input_of, static_shape, take_over
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator

_AXES_ARE_INPUTS = 18  # of ReduceMean, from this opset on
_ROUNDING = 1e-5  # how far 1/n in float32 may be off, as a share


@dataclass(frozen=True)
class _Reduction:
    """What a ReduceSum or ReduceMean over known axes of known sizes reads, and how it reads it."""

    x: ir.Value
    axes: tuple[int, ...]
    keeps_dims: bool


def center_variances(model: ir.Model) -> int:
    """Change `model` itself, of opset 13 or later; returns how many means and variances were rewritten.

    Every value must have its shape and dtype (infer_shapes). A sum that something else reads stays for that.
    Numbers change by float32's rounding.
    """
    names = Names(model)
    means = sum(_rewrite_mean(node, names) for node in tuple(model.graph))
    variances = sum(_rewrite_variance(node, names) for node in tuple(model.graph))
    if means or variances:
        remove_unused(model)
        infer_shapes(model)
    return means + variances


def _rewrite_mean(node: ir.Node, names: Names) -> bool:
    """ReduceSum(x) * (1/n) or ReduceSum(x) / n -> ReduceMean(x)."""
    for total, factor in _factors(node):
        found = _reduction(total, "ReduceSum")
        if found is None or static_shape(total) != static_shape(node.outputs[0]):
            continue
        sizes = static_shape(found.x) or ()
        if abs(factor * prod(sizes[axis] for axis in found.axes) - 1) < _ROUNDING:
            take_over(_mean(node, found.x, found, names), node.outputs[0])
            return True
    return False


def _factors(node: ir.Node) -> Iterator[tuple[ir.Value | None, float]]:
    """Each (value, number) that a Mul or Div with one constant number multiplies."""
    if node.domain or node.op_type not in ("Mul", "Div"):
        return
    for place in (0, 1) if node.op_type == "Mul" else (1,):
        number = constant_array(node.inputs[place])
        if number is not None and number.size == 1 and number.item():
            factor = float(number.item())
            yield node.inputs[1 - place], factor if node.op_type == "Mul" else 1 / factor


def _rewrite_variance(node: ir.Node, names: Names) -> bool:
    """ReduceMean(x * x) - ReduceMean(x) * ReduceMean(x) -> ReduceMean((x - ReduceMean(x))^2)."""
    if node.op_type != "Sub" or node.domain:
        return False
    of_squares, mean = _reduction(node.inputs[0], "ReduceMean"), _square_root(node.inputs[1])
    of_x = _reduction(mean, "ReduceMean")
    if mean is None or of_squares is None or of_x is None or _square_root(of_squares.x) is not of_x.x:
        return False
    if (of_squares.axes, of_squares.keeps_dims) != (of_x.axes, of_x.keeps_dims):
        return False
    if not of_x.keeps_dims:
        axes = names.add_initializer(graph_of(node), f"{mean.name}/axes", np.array(of_x.axes, np.int64))
        mean = names.insert_before(node, "Unsqueeze", [mean, axes])
    deviations = names.insert_before(node, "Sub", [of_x.x, mean])
    squares = names.insert_before(node, "Mul", [deviations, deviations])
    take_over(_mean(node, squares, of_x, names), node.outputs[0])
    return True


def _square_root(value: ir.Value | None) -> ir.Value | None:
    """What `value` is the square of: v of v * v or v^2."""
    node = None if value is None else value.producer()
    if node is None or node.domain or node.op_type not in ("Mul", "Pow"):
        return None
    first, second = node.inputs[:2]
    if node.op_type == "Mul":
        return first if first is second else None
    power = constant_array(second)
    return first if power is not None and power.size == 1 and power.item() == 2 else None


def _reduction(value: ir.Value | None, op: str) -> _Reduction | None:
    """The float reduction by `op` that makes `value`, where its axes are constant and their sizes known."""
    node = None if value is None else value.producer()
    if node is None or node.op_type != op or node.domain or node.inputs[0] is None:
        return None
    x, attribute, axes = node.inputs[0], node.attributes.get("axes"), input_of(node, 1)
    shape, listed = static_shape(x), constant_array(axes)
    if shape is None or x.dtype != ir.DataType.FLOAT or (axes is not None and listed is None):
        return None
    found = attribute.as_ints() if attribute is not None else [] if listed is None else listed.tolist()
    if not found and node.attributes.get_int("noop_with_empty_axes", 0) == 1:
        return None
    places = tuple(sorted(axis % len(shape) for axis in found or range(len(shape))))
    return _Reduction(x, places, bool(node.attributes.get_int("keepdims", 1)))


def _mean(node: ir.Node, x: ir.Value, like: _Reduction, names: Names) -> ir.Value:
    """ReduceMean of x in front of `node`, over the axes of `like`."""
    keeps = int(like.keeps_dims)
    if (graph_of(node).opset_imports.get("") or 0) < _AXES_ARE_INPUTS:
        return names.insert_before(node, "ReduceMean", [x], axes=like.axes, keepdims=keeps)
    axes = names.add_initializer(graph_of(node), f"{x.name}/axes", np.array(like.axes, np.int64))
    return names.insert_before(node, "ReduceMean", [x, axes], keepdims=keeps)
