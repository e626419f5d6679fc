"""Turns constant weights and biases into integers: per channel, symmetric, exact where int32 must be."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import ml_dtypes
import numpy as np

from edgekit._qdq.round_weights import Grouping, code_range, round_weight, smallest_elements
from edgekit.calibration.scales import quantize_weights, weight_scales

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._schemes import Scheme

    Floats = NDArray[np.float32]

_INT32_ROOM = 2**30  # half of int32: the accumulator adds to the bias


@dataclass(frozen=True)
class QuantizedWeight:
    """Integers (int4, int8, or uint8 around 128) of the weight's own shape, and one scale per `axis` entry.

    axis None: one scale, of shape (), for the whole tensor.
    """

    integers: NDArray[np.generic]
    scales: Floats
    axis: int | None


def channel_axis(node: ir.Node) -> int | None:
    """The axis of this node's constant weight that runs over output channels; None: per tensor."""
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    if node.op_type == "Gemm":
        transposed = node.attributes.get("transB")
        return 0 if transposed is not None and transposed.as_int() else 1
    weight = node.inputs[1]
    rank = len(weight.shape) if weight is not None and weight.shape is not None else 0
    return 1 if rank == 2 else None


def quantize_weight(
    weight: Floats, axis: int | None, *, scheme: Scheme, bias: Floats | None, input_scale: float
) -> QuantizedWeight:
    """Symmetric rounding to +-127 of each channel's largest magnitude (int4: +-7 of what loses least).

    A channel's scale is raised where its bias would leave int32 in units of input_scale * scale (a
    dead channel with a large bias).
    """
    floors = None
    if bias is not None:
        magnitudes = np.abs(bias.astype(np.float64)) / (input_scale * _INT32_ROOM)
        entries = 1 if axis is None else weight.shape[axis]
        floors = magnitudes.reshape(-1, entries).max(axis=0).reshape(() if axis is None else -1)
    least = None if floors is None else floors.astype(np.float32)
    if scheme.weight == "int4" and axis is not None:
        return _quantize_to_4_bits(weight, axis, least)
    scales = weight_scales(weight, axis, scheme, floors=least)
    return QuantizedWeight(quantize_weights(weight, axis, scheme, scales), scales, axis)


def scheme_of(node: ir.Node, weight: ir.Value, scheme: Scheme) -> Scheme:
    """The scheme for one weight: int4 ones are for many weights a channel, else it is int8.

    Grouped convolutions stay int8: a depthwise one's nine numbers a channel are few bytes, and their errors
    do not average out.
    """
    if scheme.weight != "int4":
        return scheme
    shape = () if weight.shape is None else tuple(weight.shape.numpy())
    group = node.attributes.get("group")
    is_dense = group is None or group.as_int() == 1
    many = len(shape) > 1 and math.prod(shape) >= smallest_elements()
    return scheme if is_dense and many and channel_axis(node) is not None else replace(scheme, weight="int8")


def _quantize_to_4_bits(weight: Floats, axis: int, least: Floats | None) -> QuantizedWeight:
    rounded = round_weight(weight, 4, Grouping(channel=axis, summed=0 if axis else 1))
    codes, scales = rounded.codes, rounded.scales
    if least is not None and np.any(least > scales):
        scales = np.maximum(scales, least)
        others = tuple(i for i in range(weight.ndim) if i != axis)
        low, high = code_range(4, Grouping(axis, 0))
        codes = np.clip(np.rint(weight / np.expand_dims(scales, others)), low, high)
    return QuantizedWeight(codes.astype(ml_dtypes.int4), scales, axis)


def bias_units(bias: Floats, input_scale: float, scales: Floats) -> NDArray[np.float64]:
    """input scale x weight scale for each bias entry; grouped transposed convolutions repeat theirs."""
    unit = np.float64(np.float32(input_scale)) * scales.astype(np.float64)
    return np.resize(unit, bias.shape)


def round_bias(bias: Floats, units: NDArray[np.float64]) -> NDArray[np.int64]:
    """The bias in whole multiples of its units: where int32 sums start from."""
    return np.rint(bias.astype(np.float64) / units).astype(np.int64)
