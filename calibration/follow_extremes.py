"""Extremes that follow exactly from those of other tensors, so that no value has to be read for them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Container

    import onnx_ir as ir
    from numpy.typing import NDArray

_DOMAINS = ("", "ai.onnx")
# Every value stays and none comes to it.
_RESHAPING = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
# With a whole factor every value is picked at least once in these, however places are rounded.
_PICKING_ALL = frozenset({"asymmetric", "half_pixel", "pytorch_half_pixel"})


@dataclass(frozen=True)
class Follows:
    """The lowest value is `kinds[0]` of the lowest of `sources` and `others`, the highest `kinds[1]`.

    others: values of the graph, or one number. falls: the lowest comes from the highest, and the other
    way round.
    """

    sources: tuple[ir.Value, ...]
    kinds: tuple[str, str] = ("Identity", "Identity")
    others: tuple[ir.Value | NDArray[np.float32] | None, ...] = ()
    falls: bool = False


def follow_extremes(node: ir.Node, known: Container[ir.Value]) -> Follows | None:
    """How the extremes of the node's result follow from extremes that are `known`; None if they do not.

    They do where each value stays as it is, and where an op is applied to each that never falls (or never
    rises) as its input rises, roundings included: the same op then gives the extremes of its result.
    None of these makes a NaN of finite numbers.
    """
    if node.domain not in _DOMAINS or not node.inputs or node.inputs[0] is None:
        return None
    if node.op_type == "Concat":
        sources = tuple(value for value in node.inputs if value is not None and value in known)
        return Follows(sources, ("Min", "Max")) if len(sources) == len(node.inputs) else None
    found = _follow_one(node)
    return found if found is not None and found.sources[0] in known else None


def _follow_one(node: ir.Node) -> Follows | None:
    source = node.inputs[0]
    if source is None:
        return None
    if node.op_type in _RESHAPING or (node.op_type == "Resize" and _picks_all(node)):
        return Follows((source,))
    if node.op_type in ("Relu", "Clip") and not node.attributes:
        return Follows((source,), (node.op_type, node.op_type), tuple(node.inputs[1:]))
    return _follow_number(node) if node.op_type in ("Add", "Sub", "Mul", "Div") else None


def _follow_number(node: ir.Node) -> Follows | None:
    """x + c, x - c, c + x, x * c, c * x, x / c of one number c: correct rounding keeps the order."""
    first, second = node.inputs
    if node.op_type in ("Add", "Mul") and _number(first) is not None:
        first, second = second, first
    number = _number(second)
    if first is None or number is None or not np.isfinite(number):
        return None
    scales = node.op_type in ("Mul", "Div")
    if scales and number == 0:
        return None
    return Follows((first,), (node.op_type, node.op_type), (number,), falls=bool(scales and number < 0))


def _number(value: ir.Value | None) -> NDArray[np.float32] | None:
    """A constant's one number, without dims."""
    tensor = None if value is None else value.const_value
    return tensor.numpy().reshape(()) if tensor is not None and tensor.size == 1 else None


def _picks_all(node: ir.Node) -> bool:
    """Whether a Resize repeats each value a whole number of times."""
    text = {name: item.as_string() for name, item in node.attributes.items() if item.type.name == "STRING"}
    scales = node.inputs[2] if len(node.inputs) > 2 else None
    factors = None if scales is None or scales.const_value is None else scales.const_value.numpy()
    return (
        text.get("mode", "nearest") == "nearest"
        and text.get("coordinate_transformation_mode", "half_pixel") in _PICKING_ALL
        and factors is not None
        and factors.size > 0
        and bool((factors >= 1).all() and (factors == np.floor(factors)).all())
    )
