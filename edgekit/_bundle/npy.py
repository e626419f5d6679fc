"""Plain .npy files: numbers only, no pickle, size known before anything is allocated."""

from __future__ import annotations

import math
from tokenize import TokenError
from typing import TYPE_CHECKING, BinaryIO

import numpy as np

from edgekit.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

_KINDS = "fiub"
_LONGEST_HEADER = 10_000
TENSOR_BYTES = 2 << 30
# What numpy's header parser (`ast`, and `tokenize` for old headers) raises on damaged text.
_HEADER_ERRORS = (ValueError, TypeError, SyntaxError, TokenError, EOFError, RecursionError, MemoryError)


def write_npy(path: Path, array: np.ndarray, *, name: str) -> None:
    """Write one tensor little-endian in C order; the same array gives the same bytes.

    `name` is the tensor's, for the message: BundleError for a dtype that is no plain number.
    """
    if array.dtype.kind not in _KINDS:
        raise BundleError(
            f"golden tensor '{name}': dtype {array.dtype} cannot be kept as plain numbers",
            fix="end the model at a float, integer or bool tensor",
        )
    plain = np.asarray(array, dtype=array.dtype.newbyteorder("<"), order="C")
    with path.open("xb") as file:
        np.lib.format.write_array(file, plain, version=(1, 0), allow_pickle=False)


def read_npy(path: Path, *, most: int = TENSOR_BYTES) -> np.ndarray:
    """Read one tensor of at most `most` bytes; BundleError names the file and the rule it breaks."""
    with path.open("rb") as file:
        shape, dtype = _read_header(file, path.name)
        size = math.prod(shape) * dtype.itemsize
        held = path.stat().st_size - file.tell()
        if size > most:
            raise _broken(path.name, f"it declares {size} bytes, more than {most}")
        if size != held:
            raise _broken(path.name, f"it declares {size} bytes and holds {held}")
        return np.fromfile(file, dtype=dtype, count=math.prod(shape)).reshape(shape)


def _read_header(file: BinaryIO, name: str) -> tuple[tuple[int, ...], np.dtype]:
    try:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise _broken(name, f"format {version} is not 1.0")
        shape, fortran, dtype = np.lib.format.read_array_header_1_0(file, max_header_size=_LONGEST_HEADER)
    except _HEADER_ERRORS as error:
        raise _broken(name, f"its header is damaged ({type(error).__name__})") from error
    if dtype.hasobject or dtype.kind not in _KINDS or dtype.subdtype is not None:
        raise _broken(name, f"dtype {dtype} is no plain number")
    if fortran or any(not isinstance(dim, int) or dim < 0 for dim in shape):
        raise _broken(name, "shape or order is not allowed")
    return shape, dtype


def _broken(name: str, rule: str) -> BundleError:
    return BundleError(f"tensor file '{name}': {rule}", fix="take a bundle that `edgekit convert` wrote")
