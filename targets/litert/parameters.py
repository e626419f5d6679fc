"""Weights and biases of products: their scales, and the bias in units of input scale x weight scale."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Quant, Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.litert.call import Call


def moved_axis(quant: Quant | None, axis: int) -> Quant | None:
    """The same scales along another axis."""
    return None if quant is None else replace(quant, axis=axis)


def weights_in(call: Call, weights: Tensor, order: Sequence[int], axis: int) -> Tensor:
    """Weights with their axes in another order, their scales along `axis`; computed ones by an operator."""
    if weights.data is None:
        return call.transpose(weights, order)
    return constant(weights.data.transpose(order), moved_axis(weights.quant, axis))


def bias_tensor(call: Call, index: int, count: int, x: Tensor) -> Tensor:
    """The bias, or zeros; int32 in units of input scale x weight scale where the data are int8."""
    if call.has(index):
        found = call.operand(index)
        if found.data is None and found.dtype == "float32":
            return call.reshape(found, (count,))
        return constant(call.array(index).reshape(-1), moved_axis(found.quant, 0))
    if x.dtype != "int8":
        return constant(np.zeros(count, np.float32))
    weight = call.operand(1).quant
    assert weight is not None
    assert x.quant is not None
    units = tuple(float(np.float32(x.quant.scale * scale)) for scale in weight.scales)
    return constant(np.zeros(count, np.int32), Quant(units))
