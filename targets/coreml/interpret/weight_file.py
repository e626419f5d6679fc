"""Reads one entry of a weight.bin: a 64-byte record, then its bytes, both named by the program's offset.

Format (coremltools, MILBlob StorageFormat.hpp): header u32 count, u32 version 2, 56 bytes reserved; record
u32 0xDEADBEEF, u32 dtype, u64 size in bytes, u64 offset of the data, u64 unused bits at its end, 32 bytes
reserved.
"""

from __future__ import annotations

import mmap
import struct
from typing import TYPE_CHECKING

import numpy as np

from edgekit.errors import BundleError

if TYPE_CHECKING:
    from pathlib import Path

_SENTINEL = 0xDEADBEEF
_RECORD = struct.Struct("<IIQQQ")
_HEADER = struct.Struct("<II")
_RECORD_BYTES = 64
# BlobDataType numbers -> the program's names for them.
_DTYPES = {
    1: "float16",
    2: "float32",
    3: "uint8",
    4: "int8",
    6: "int16",
    7: "uint16",
    8: "int4",
    9: "uint1",
    10: "uint2",
    11: "uint4",
    12: "uint3",
    13: "uint6",
    14: "int32",
    15: "uint32",
}


class WeightFile:
    """One mapped weight file; every entry is checked against the file's size before it is read."""

    def __init__(self, path: Path, package: str) -> None:
        self._place = f"{package}: {path.name}"
        with path.open("rb") as file:
            size = path.stat().st_size
            if size < _RECORD_BYTES:
                raise self._damaged("is shorter than its header")
            self._data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        _, version = _HEADER.unpack_from(self._data, 0)
        if version != 2:
            raise self._damaged(f"has the format version {version}, not 2")

    def read(self, offset: int, dtype: str) -> np.ndarray:
        """The entry's bytes as uint8, a view of the file. BundleError: outside it, or of another dtype."""
        if offset % _RECORD_BYTES or offset < _RECORD_BYTES or offset + _RECORD_BYTES > len(self._data):
            raise self._damaged(f"has no entry at offset {offset}")
        sentinel, number, size, start, _ = _RECORD.unpack_from(self._data, offset)
        if sentinel != _SENTINEL:
            raise self._damaged(f"has no entry at offset {offset}")
        if _DTYPES.get(number) != dtype:
            raise self._damaged(
                f"holds {_DTYPES.get(number, f'dtype {number}')} at offset {offset}, the program says {dtype}"
            )
        if start + size > len(self._data):
            raise self._damaged(f"ends before the entry at offset {offset} does")
        return np.frombuffer(self._data, np.uint8, count=size, offset=start)

    def _damaged(self, what: str) -> BundleError:
        return BundleError(f"{self._place} {what}", fix="copy the whole package, or build it again")
