"""Reads Mul, Div, Add and Sub by constants, and a clamp behind them, as one function a channel."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgekit.passes._rewire import constant_array, input_of, static_shape
from edgekit.targets.litert.quantized_values import integers_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit.targets.litert.graph import Quant

    Reals = NDArray[np.float64]
    Clamp = Literal["", "Relu", "Relu6"]

LARGEST_CODE = 127
SMALLEST_CODE = -128


@dataclass(frozen=True)
class Affine:
    """factor x + offset, each a number or one a channel (the last axis), then clamped to low..high."""

    factor: Reals
    offset: Reals
    low: float = -math.inf
    high: float = math.inf

    def of(self, factor: Reals | float, offset: Reals | float) -> Affine:
        """The same of `factor x + offset`."""
        return replace(self, factor=self.factor * factor, offset=self.factor * offset + self.offset)


_IDENTITY = Affine(np.asarray(1.0), np.asarray(0.0))
# op -> (factor, offset) of its first operand, from the second one, k.
_STEPS: dict[str, Callable[[Reals], tuple[Reals | float, Reals | float]]] = {
    "Mul": lambda k: (k, 0.0),
    "Div": lambda k: (1 / k, 0.0),
    "Add": lambda k: (1.0, k),
    "Sub": lambda k: (1.0, -k),
}


def read_chain(last: ir.Node, quants: Mapping[ir.Value, Quant]) -> tuple[ir.Value, Affine] | None:
    """(the integers that the chain starts from, what it computes), None where it is something else."""
    found = _read_clamp(last)
    node: ir.Node | None = last
    if found is not None:
        affine, value = found
        node = _sole_producer(value, quants)
    else:
        affine, value = _IDENTITY, last.outputs[0]
    steps = 0
    while node is not None and (step := _read_step(node)) is not None:
        value, factor, offset = step
        affine, steps = affine.of(factor, offset), steps + 1
        node = _sole_producer(value, quants)
    source = integers_of(value, quants)
    scaled = found is not None and last.op_type == "HardSigmoid"
    if source is None or not (steps or scaled) or not np.all(np.isfinite(affine.factor + affine.offset)):
        return None
    return source, affine


def clamp_for(affine: Affine, out: Quant) -> Clamp | None:
    """The clamp to write behind it, where the ends of int8 do not clamp already; None where none fits."""
    below = affine.low == -math.inf or round(affine.low / out.scale) <= SMALLEST_CODE
    above = affine.high == math.inf or round(affine.high / out.scale) >= LARGEST_CODE
    if below and above:
        return ""
    if affine.low != 0.0:
        return None
    if above:
        return "Relu"
    return "Relu6" if affine.high == 6.0 else None


def _sole_producer(value: ir.Value, quants: Mapping[ir.Value, Quant]) -> ir.Node | None:
    """The value's producer, unless somebody else reads it or integers lie behind it."""
    if integers_of(value, quants) is not None or len(value.uses()) != 1 or value.is_graph_output():
        return None
    return value.producer()


def _read_clamp(node: ir.Node) -> tuple[Affine, ir.Value] | None:
    """What a Relu, Clip or HardSigmoid computes, and of which value."""
    value = node.inputs[0] if node.inputs else None
    if value is None or node.domain:
        return None
    if node.op_type == "Relu":
        return replace(_IDENTITY, low=0.0), value
    if node.op_type == "HardSigmoid":
        alpha, beta = (
            node.attributes[name].as_float() if name in node.attributes else default
            for name, default in (("alpha", 0.2), ("beta", 0.5))
        )
        return Affine(np.asarray(alpha), np.asarray(beta), 0.0, 1.0), value
    if node.op_type != "Clip" or len(node.inputs) < 2:
        return None
    limits = [constant_array(input_of(node, index)) for index in (1, 2)]
    if any(array is None and input_of(node, index) is not None for index, array in enumerate(limits, 1)):
        return None
    low, high = (
        default if array is None else float(array)
        for array, default in zip(limits, (-math.inf, math.inf), strict=True)
    )
    return replace(_IDENTITY, low=low, high=high), value


def _read_step(node: ir.Node) -> tuple[ir.Value, Reals | float, Reals | float] | None:
    """(the computed operand, its factor, the offset) of one node."""
    if node.domain or node.op_type not in _STEPS or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    if node.op_type in ("Mul", "Add") and constant_array(first) is not None:
        first, second = second, first
    shape, array = static_shape(first), constant_array(second)
    if first is None or array is None or shape is None or shape != static_shape(node.outputs[0]):
        return None
    numbers = _one_a_channel(array, shape)
    if numbers is None or (node.op_type == "Div" and not np.all(numbers)):
        return None
    return first, *_STEPS[node.op_type](numbers)


def _one_a_channel(array: NDArray[np.generic], shape: tuple[int, ...]) -> Reals | None:
    """The constant as one number, or one an entry of the last axis; None where it varies otherwise."""
    numbers = array.astype(np.float64)
    if numbers.size == 1:
        return numbers.reshape(())
    if shape and numbers.size == numbers.shape[-1] == shape[-1]:
        return numbers.reshape(-1)
    return None
