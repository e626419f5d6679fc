"""The logarithm of a power with a tiny floor -> forms whose numbers float16 holds.

log(s^2 + 1e-10) reads powers from 1e-10 up, and float16 ends at 6e-8: a spectrum in decibels loses its quiet
half, and log(0) is no number. With m the larger and n the smaller of |s| and sqrt(1e-10) the same value is
2 log(m) + log(1 + (n/m)^2), and a length sqrt(sum v^2) is m * sqrt(sum (v/m)^2) with m the largest |v|: each
number in them is of the size of s itself, or of 1.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from math import sqrt

import numpy as np
import onnx_ir as ir

from edgekit.passes._reductions import (
    Reduction,
    add_axes,
    insert_reduction,
    reduction_of,
    square_root_of,
)
from edgekit.passes._rewire import Names, constant_array, graph_of, input_of, take_over
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.remove_unused import remove_unused

_LEAST_NORMAL = 2.0**-14  # of float16
_MOVES = frozenset({"Flatten", "Identity", "Reshape", "Squeeze", "Transpose", "Unsqueeze"})


@dataclass(frozen=True)
class _Floored:
    """A power and the constant number below it: added (`s^2 + floor`), or the least that it may be."""

    power: ir.Value
    floor: float
    is_added: bool


def split_log_powers(model: ir.Model) -> int:
    """Change `model` itself, of opset 13 or later; returns how many logarithms were rewritten.

    Every value must have its shape and dtype (infer_shapes). Left alone: a floor that float16 holds, one a
    channel, none at all, and a power that is no square and no sum of squares. Finite numbers change by
    float32's rounding; an infinite v of a sum of squares becomes NaN.
    """
    names = Names(model)
    changed = sum(_rewrite(node, names) for node in tuple(model.graph))
    if changed:
        remove_unused(model)
        infer_shapes(model)
    return changed


def hold_log_powers(model: ir.Model) -> tuple[ir.Model, int]:
    """`split_log_powers` in a clone, and how many were rewritten; the model itself where there are none."""
    if not any(node.op_type == "Log" for node in model.graph):
        return model, 0
    clone = model.clone()
    count = split_log_powers(clone)
    return (clone, count) if count else (model, 0)


def _rewrite(log: ir.Node, names: Names) -> bool:
    found = None if log.op_type != "Log" or log.domain else _floored(log.inputs[0])
    root = None if found is None else _root_of(log, found.power, names)
    if found is None or root is None:
        return False
    floor = _number(log, "floor", sqrt(found.floor), names)
    larger = names.insert_before(log, "Max", [root, floor])
    whole = _twice_log(log, larger, names)
    if found.is_added:
        smaller = names.insert_before(log, "Min", [root, floor])
        share = names.insert_before(log, "Div", [smaller, larger])
        square = names.insert_before(log, "Mul", [share, share])
        above = names.insert_before(log, "Add", [square, _number(log, "one", 1, names)])
        rest = names.insert_before(log, "Log", [above])
        whole = names.insert_before(log, "Add", [whole, rest])
    take_over(whole, log.outputs[0])
    return True


def _twice_log(log: ir.Node, value: ir.Value, names: Names) -> ir.Value:
    half = names.insert_before(log, "Log", [value])
    return names.insert_before(log, "Mul", [half, _number(log, "two", 2, names)])


def _floored(value: ir.Value | None) -> _Floored | None:
    """power + floor, max(power, floor) or clip(power, floor) with one tiny floor."""
    node = None if value is None else value.producer()
    if node is None or node.domain or value is None or value.dtype != ir.DataType.FLOAT:
        return None
    if node.op_type == "Clip" and input_of(node, 2) is None:
        pairs = [(node.inputs[0], input_of(node, 1))]
    elif node.op_type in ("Add", "Max") and len(node.inputs) == 2:
        pairs = [(node.inputs[0], node.inputs[1]), (node.inputs[1], node.inputs[0])]
    else:
        return None
    for power, constant in pairs:
        number = constant_array(constant)
        fits = number is not None and number.size == 1 and 0 < number.item() < _LEAST_NORMAL
        if fits and number is not None and power is not None and _keeps_rank(number, power):
            return _Floored(power, float(number.item()), node.op_type == "Add")
    return None


def _keeps_rank(number: np.ndarray, power: ir.Value) -> bool:
    """Whether the power has its shape still where one number of so many axes was put to it."""
    return power.shape is not None and number.ndim <= len(power.shape)


def _root_of(log: ir.Node, power: ir.Value, names: Names) -> ir.Value | None:
    """|s| of a power that is s^2, or the length of v for a sum of v^2; None for any other power."""
    of_squares = reduction_of(power, "ReduceSum")
    if of_squares is not None and square_root_of(of_squares.x) is not None:
        return _length(log, of_squares, names)
    root = square_root_of(power)
    if root is None:
        return None
    start = root.producer()
    while start is not None and start.op_type in _MOVES and not start.domain and start.inputs[0]:
        start = start.inputs[0].producer()
    if start is None or start.op_type != "Sqrt" or start.domain:
        return names.insert_before(log, "Abs", [root])
    under = reduction_of(start.inputs[0], "ReduceSum")
    if under is not None and square_root_of(under.x) is not None:
        renamed = start.outputs[0] is root
        length = _length(start, under, names)
        take_over(length, start.outputs[0])
        return length if renamed else root
    return root


def _length(node: ir.Node, of_squares: Reduction, names: Names) -> ir.Value:
    """sqrt(sum v^2) in front of `node`, as m * sqrt(sum (v/m)^2) with m = max(largest |v|, 2^-14)."""
    vector = square_root_of(of_squares.x)
    assert vector is not None
    size = names.insert_before(node, "Abs", [vector])
    largest = insert_reduction(node, "ReduceMax", replace(of_squares, x=size), names, keeps_dims=True)
    unit = names.insert_before(node, "Max", [largest, _number(node, "least", _LEAST_NORMAL, names)])
    scaled = names.insert_before(node, "Div", [vector, unit])
    squares = names.insert_before(node, "Mul", [scaled, scaled])
    total = insert_reduction(node, "ReduceSum", replace(of_squares, x=squares), names)
    if not of_squares.keeps_dims:
        unit = names.insert_before(node, "Squeeze", [unit, add_axes(node, unit, of_squares.axes, names)])
    return names.insert_before(node, "Mul", [names.insert_before(node, "Sqrt", [total]), unit])


def _number(node: ir.Node, name: str, number: float, names: Names) -> ir.Value:
    array = np.array(number, np.float32)
    return names.add_initializer(graph_of(node), f"{node.outputs[0].name}/{name}", array)
