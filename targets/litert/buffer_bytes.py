"""The bytes of constants as LiteRT holds them: C order, little endian, int4 two to a byte; piece by piece."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

_PIECE = 2**25  # bytes held at a time


def count_bytes(array: NDArray[Any]) -> int:
    """How many bytes `byte_pieces` gives."""
    return (array.size + 1) // 2 if array.dtype.name == "int4" else int(array.nbytes)


def byte_pieces(array: NDArray[Any]) -> Iterator[bytes]:
    """The constant's bytes in order; a view or a memory map is copied one piece at a time."""
    if array.dtype.name == "int4":
        yield from _packed(array)
        return
    for piece in _flat_pieces(array):
        yield piece.tobytes()


def digest_bytes(array: NDArray[Any]) -> str:
    """sha256 of the bytes."""
    digest = hashlib.sha256()
    for piece in byte_pieces(array):
        digest.update(piece)
    return digest.hexdigest()


def _packed(array: NDArray[Any]) -> Iterator[bytes]:
    """The first of two in the low half; an odd one at the end stands alone."""
    kept = np.empty(0, np.uint8)
    for piece in _flat_pieces(array):
        flat = np.concatenate([kept, np.ascontiguousarray(piece).astype(np.int8).view(np.uint8) & 15])
        whole = flat.size // 2 * 2
        yield (flat[0:whole:2] | (flat[1:whole:2] << 4)).tobytes()
        kept = flat[whole:]
    if kept.size:
        yield kept.tobytes()


def _flat_pieces(array: NDArray[Any]) -> Iterator[NDArray[Any]]:
    """One-dim pieces of whole rows along the first axis."""
    if array.ndim < 2 or array.nbytes <= _PIECE:
        yield array.reshape(-1)
        return
    rows = max(1, _PIECE // (array.nbytes // array.shape[0]))
    for start in range(0, array.shape[0], rows):
        yield array[start : start + rows].reshape(-1)
