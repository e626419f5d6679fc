"""Read numpy files without ever unpickling, and with every size checked before memory is taken for it."""

from __future__ import annotations

import math
import zipfile
import zlib
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import IO, TYPE_CHECKING

import numpy as np
from numpy.lib import format as npy_format

from edgekit.calibration.settings import get_count
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Array = np.ndarray[tuple[int, ...], np.dtype[np.generic]]

_FAILURES = (OSError, ValueError, EOFError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error)


@dataclass(frozen=True)
class ArrayHeader:
    """What a .npy header says of the array that follows it."""

    shape: tuple[int, ...]
    dtype: np.dtype[np.generic]
    fortran: bool

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


@contextmanager
def explain_failures(path: Path) -> Iterator[None]:
    """Turn what numpy, zipfile and the system raise on a damaged file into SamplesError."""
    try:
        yield
    except _FAILURES as error:
        raise SamplesError(
            f"sample file '{path.name}' cannot be read: {error}",
            fix="write it again with numpy.save or numpy.savez (no Python objects)",
        ) from error


def read_header(stream: IO[bytes]) -> ArrayHeader:
    """The header of a .npy stream, which then stands at the data; ValueError for objects and odd versions."""
    version = npy_format.read_magic(stream)
    readers = {(1, 0): npy_format.read_array_header_1_0, (2, 0): npy_format.read_array_header_2_0}
    if version not in readers:
        raise ValueError(f"npy format {version} is not supported")
    shape, fortran, dtype = readers[version](stream)
    if dtype.hasobject or dtype.names is not None or dtype.itemsize == 0:
        raise ValueError(f"dtype {dtype} is refused: only plain numbers and text are read")
    if any(size < 0 for size in shape):
        raise ValueError(f"shape {shape} is negative")
    return ArrayHeader(tuple(int(size) for size in shape), dtype, fortran and len(shape) > 1)


def read_block(stream: IO[bytes], shape: tuple[int, ...], header: ArrayHeader) -> Array:
    """The next `shape` values of a stream, C or Fortran order as the header says; checked against the cap."""
    length = math.prod(shape) * header.dtype.itemsize
    cap = get_count("samples", "sample_bytes")
    if length > cap:
        raise ValueError(f"a sample of shape {shape} takes {length} bytes, the cap is {cap}")
    content = stream.read(length)
    if len(content) != length:
        raise ValueError(f"it ends after {len(content)} of {length} bytes")
    return np.frombuffer(content, header.dtype).reshape(shape, order="F" if header.fortran else "C")


def read_npy(path: Path) -> Array:
    """The one array of a .npy file."""
    with explain_failures(path), path.open("rb") as stream:
        header = read_header(stream)
        return read_block(stream, header.shape, header)


def read_npz(path: Path) -> dict[str, Array]:
    """Every array of a .npz file by name; all of them together stay below the cap."""
    with explain_failures(path), open_members(path) as members:
        headers = {name: read_header(stream) for name, stream in members.items()}
        total, cap = sum(header.nbytes for header in headers.values()), get_count("samples", "sample_bytes")
        if total > cap:
            raise ValueError(f"its arrays take {total} bytes, the cap is {cap}")
        return {name: read_block(members[name], header.shape, header) for name, header in headers.items()}


@contextmanager
def open_members(path: Path) -> Iterator[dict[str, IO[bytes]]]:
    """Each array of a .npz file as a stream, by name; several can be read side by side."""
    with ExitStack() as stack:
        archive = stack.enter_context(zipfile.ZipFile(path))
        members: dict[str, IO[bytes]] = {}
        for entry in archive.infolist():
            if not entry.filename.endswith(".npy"):
                raise ValueError(f"member {entry.filename!r} is no .npy array")
            name = entry.filename.removesuffix(".npy")
            if name in members:
                raise ValueError(f"member {name!r} occurs twice")
            members[name] = stack.enter_context(archive.open(entry))
        yield members
