"""Weights that the file holds as their non-zero values and a mask, by coremltools' op documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.quantization import spread
from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray


def _sparse_to_dense(nonzero_data: Array, mask: Array, *, shape: Sequence[int] | None = None) -> Array:
    """Zeros but where the mask is set. iOS 16: bits packed from the lowest on; iOS 18: one value an entry."""
    if shape is not None:
        refuse_huge(shape)
        count = int(np.prod(shape))
        mask = np.unpackbits(mask, bitorder="little")[:count].reshape(shape)
    made = np.zeros(mask.shape, nonzero_data.dtype)
    made[mask != 0] = nonzero_data
    return made


def _sparse_shift_scale(
    data_mask: Array, nonzero_data: Array, scale: Array, offset: Array | None = None
) -> tuple[Array, Array]:
    """The mask, and scale * (data - offset) of the values that it keeps, each by its block."""
    kept = data_mask != 0
    values = nonzero_data.astype(np.float32)
    if offset is not None:
        values = values - spread(offset, kept.shape)[kept].astype(np.float32)
    made: Array = values * spread(scale, kept.shape)[kept].astype(np.float32)
    return data_mask, made.astype(scale.dtype)


def _lut_to_sparse(
    indices_mask: Array, indices_nonzero_data: Array, lut: Array, *, vector_axis: int | None = None
) -> tuple[Array, Array]:
    """The mask, and the table's values of the indices that it keeps, each by its block's table."""
    if lut.shape[-1] != 1:
        raise Unsupported("tables of vectors have no formula here")
    del vector_axis
    kept = indices_mask != 0
    tables = spread(np.arange(int(np.prod(lut.shape[:-2]))).reshape(lut.shape[:-2]), kept.shape)[kept]
    return indices_mask, lut.reshape(-1, lut.shape[-2])[tables, indices_nonzero_data.astype(np.int64)]


def _constexpr_cast(source_val: Array, *, output_dtype: str) -> Array:
    if output_dtype != "fp32":
        raise Unsupported(f"its output_dtype '{output_dtype}' has no meaning here")
    return source_val.astype(np.float32)


MOVES: dict[str, Any] = {
    "constexpr_cast": _constexpr_cast,
    "constexpr_lut_to_sparse": _lut_to_sparse,
    "constexpr_sparse_blockwise_shift_scale": _sparse_shift_scale,
    "constexpr_sparse_to_dense": _sparse_to_dense,
}
