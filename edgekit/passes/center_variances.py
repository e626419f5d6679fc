"""A mean written as a sum times 1/n, a variance as E[x^2] - E[x]^2 -> forms whose numbers float16 holds.

The sum of 512 squares of numbers near 20 is above 65504, where float16 ends, and the difference of two large
numbers keeps none of its eleven bits. ReduceMean and E[(x - E[x])^2] are the same values and stay small.
"""

from __future__ import annotations

from dataclasses import replace
from math import prod
from typing import TYPE_CHECKING

from edgekit.passes._reductions import add_axes, insert_reduction, reduction_of, square_root_of
from edgekit.passes._rewire import Names, constant_array, static_shape, take_over
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir

_ROUNDING = 1e-5  # how far 1/n in float32 may be off, as a share


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
        found = reduction_of(total, "ReduceSum")
        sizes = None if found is None else static_shape(found.x)
        if found is None or sizes is None or static_shape(total) != static_shape(node.outputs[0]):
            continue
        if abs(factor * prod(sizes[axis] for axis in found.axes) - 1) < _ROUNDING:
            take_over(insert_reduction(node, "ReduceMean", found, names), node.outputs[0])
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
    of_squares, mean = reduction_of(node.inputs[0], "ReduceMean"), square_root_of(node.inputs[1])
    of_x = reduction_of(mean, "ReduceMean")
    if mean is None or of_squares is None or of_x is None or square_root_of(of_squares.x) is not of_x.x:
        return False
    if (of_squares.axes, of_squares.keeps_dims) != (of_x.axes, of_x.keeps_dims):
        return False
    if not of_x.keeps_dims:
        mean = names.insert_before(node, "Unsqueeze", [mean, add_axes(node, mean, of_x.axes, names)])
    deviations = names.insert_before(node, "Sub", [of_x.x, mean])
    squares = names.insert_before(node, "Mul", [deviations, deviations])
    take_over(insert_reduction(node, "ReduceMean", replace(of_x, x=squares), names), node.outputs[0])
    return True
