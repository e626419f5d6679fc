"""Weights and biases of products: their scales, and the bias in units of input scale x weight scale."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.graph import ROUNDED, Quant, Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.litert.call import Call

_BIAS: dict[str, type[np.integer[Any]]] = {"int8": np.int32, "int16": np.int64}


def moved_axis(quant: Quant | None, axis: int) -> Quant | None:
    """The same scales along another axis."""
    return None if quant is None else replace(quant, axis=axis)


def weights_in(call: Call, weights: Tensor, order: Sequence[int], axis: int) -> Tensor:
    """Weights with their axes in another order, their scales along `axis`; computed ones by an operator."""
    if weights.data is None:
        return call.transpose(weights, order)
    return constant(weights.data.transpose(order), moved_axis(weights.quant, axis))


def bias_tensor(call: Call, index: int, count: int, x: Tensor) -> Tensor:
    """The bias, or zeros; int32 in units of input scale x weight scale where the data are int8.

    int64 beside int16 data: LiteRT's kernels read an int32 one as if it were (65534 steps off).
    """
    if call.has(index):
        found = call.operand(index)
        if found.data is None and found.dtype == "float32":
            return call.reshape(found, (count,))
        values = call.array(index).reshape(-1)
        return constant(
            values.astype(_BIAS[x.dtype], casting="safe") if x.dtype in ROUNDED else values,
            moved_axis(found.quant, 0),
        )
    if x.dtype not in ROUNDED:
        return constant(np.zeros(count, np.float32))
    weight = call.operand(1).quant
    assert weight is not None
    assert x.quant is not None
    units = tuple(float(np.float32(x.quant.scale * scale)) for scale in weight.scales)
    return constant(np.zeros(count, _BIAS[x.dtype]), Quant(units))
