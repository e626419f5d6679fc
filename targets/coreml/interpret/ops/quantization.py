"""Integers from floats and back, and weights that the file holds compressed."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

Array = np.ndarray
_RANGES = {"int8": (-128, 127), "uint8": (0, 255)}


def _along(values: Array, x: Array, axis: int | None) -> Array:
    """One value, or one an entry of the axis, shaped so that it broadcasts to x."""
    if values.ndim == 0:
        return values
    if axis is None:
        raise ValueError("a vector of scales or zero-points needs an axis")
    return values.reshape([values.size if i == axis % x.ndim else 1 for i in range(x.ndim)])


def _quantize(
    input: Array,  # noqa: A002 - MIL's name
    scale: Array,
    zero_point: Array | None = None,
    *,
    output_dtype: str,
    axis: int | None = None,
) -> Array:
    """clip(round(input / scale) + zero_point), rounding to even; the quotient has the input's precision."""
    if output_dtype not in _RANGES:
        raise Unsupported(f"its output_dtype '{output_dtype}' has no meaning here")
    quotient = input.astype(np.float32) / _along(scale, input, axis).astype(np.float32)
    codes = np.rint(quotient.astype(input.dtype).astype(np.float32))
    if zero_point is not None:
        codes = codes + _along(zero_point, input, axis).astype(np.float32)
    return np.clip(codes, *_RANGES[output_dtype]).astype(output_dtype)


def _dequantize(
    input: Array,  # noqa: A002 - MIL's name
    scale: Array,
    zero_point: Array | None = None,
    *,
    axis: int | None = None,
) -> Array:
    """scale * (input - zero_point), in the scale's dtype."""
    return _restored(input, scale, zero_point, axis)


def _constexpr_affine_dequantize(
    quantized_data: Array, zero_point: Array, scale: Array, *, axis: int
) -> Array:
    """The same for a weight, when the model loads."""
    return _restored(quantized_data, scale, zero_point, axis)


def _restored(codes: Array, scale: Array, zero_point: Array | None, axis: int | None) -> Array:
    values = codes.astype(np.float32)
    if zero_point is not None:
        values = values - _along(np.asarray(zero_point), codes, axis).astype(np.float32)
    made: Array = values * _along(np.asarray(scale), codes, axis).astype(np.float32)
    return made.astype(scale.dtype)


def _constexpr_blockwise_shift_scale(data: Array, scale: Array, offset: Array | None = None) -> Array:
    """scale * (data - offset), each for a block of data.shape / scale.shape."""
    values = data.astype(np.float32)
    if offset is not None:
        values = values - spread(offset, data.shape).astype(np.float32)
    made: Array = values * spread(scale, data.shape).astype(np.float32)
    return made.astype(scale.dtype)


def spread(values: Array, shape: tuple[int, ...]) -> Array:
    """Each block's value repeated over its block."""
    for axis, size in enumerate(shape):
        if size % values.shape[axis]:
            raise ValueError(f"blocks of {list(values.shape)} do not divide {list(shape)}")
        values = np.repeat(values, size // values.shape[axis], axis)
    return values


def _constexpr_lut_to_dense(
    indices: Array, lut: Array, shape: Array | None = None, *, vector_axis: int | None = None
) -> Array:
    """A table's values by index. iOS 16: bits packed from the lowest on; iOS 18: a table a block."""
    if shape is not None:
        bits = int(lut.size - 1).bit_length()
        sizes = [int(size) for size in shape]
        count = int(np.prod(sizes))
        fields = np.unpackbits(indices, bitorder="little")[: count * bits].reshape(count, bits)
        made: Array = lut[(fields.astype(np.int64) << np.arange(bits)).sum(1)]
        return made.reshape(sizes)
    if vector_axis is not None or lut.shape[-1] != 1:
        raise Unsupported("tables of vectors have no formula here")
    tables = spread(np.arange(int(np.prod(lut.shape[:-2]))).reshape(lut.shape[:-2]), indices.shape)
    found: Array = lut.reshape(-1, lut.shape[-2])[tables, indices.astype(np.int64)]
    return found


MOVES: dict[str, Any] = {
    "constexpr_affine_dequantize": _constexpr_affine_dequantize,
    "constexpr_blockwise_shift_scale": _constexpr_blockwise_shift_scale,
    "constexpr_lut_to_dense": _constexpr_lut_to_dense,
    "dequantize": _dequantize,
    "quantize": _quantize,
}
