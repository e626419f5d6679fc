"""Sample files made to harm: pickles, bombs, truncated and damaged ones."""

from __future__ import annotations

import struct
import zipfile
import zlib
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._values import TensorInfo
from edgekit.calibration.preprocess import parse_preprocess
from edgekit.calibration.samples import load_samples
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from pathlib import Path

X = TensorInfo("x", "float32", (1, 3, 4, 5))
SPEC = parse_preprocess("size=5x4")


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape, np.float32)


def test_pickled_objects_are_never_loaded(tmp_path: Path) -> None:
    class Boom:
        def __reduce__(self) -> tuple[object, ...]:
            return (exec, ("raise SystemError('unpickled')",))

    np.save(tmp_path / "a.npy", np.array([Boom()], object), allow_pickle=True)
    with pytest.raises(SamplesError, match="dtype object is refused"):
        list(load_samples(tmp_path, [X]))
    with pytest.raises(SamplesError, match="dtype object is refused"):
        load_samples(tmp_path / "a.npy", [X])
    np.savez(tmp_path / "a.npz", x=np.array([Boom()], object))
    with pytest.raises(SamplesError, match="dtype object is refused"):
        load_samples(tmp_path / "a.npz", [X])


def claim_shape(shape: str) -> bytes:
    header = f"{{'descr': '<f4', 'fortran_order': False, 'shape': {shape}, }}".ljust(117) + "\n"
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode()


@pytest.mark.parametrize("shape", ["(1, 3, 100000, 100000)", "(1, -3, 4, 5)", "(1, 3, 4, 5)", "(10**99,)"])
def test_headers_that_claim_too_much_are_refused_before_memory_is_taken(tmp_path: Path, shape: str) -> None:
    free = TensorInfo("x", "float32", ("n", "c", "h", "w"))
    (tmp_path / "a.npy").write_bytes(claim_shape(shape) + b"\0" * 12)
    with pytest.raises(SamplesError, match=r"'a\.npy' cannot be read"):
        list(load_samples(tmp_path, [free]))
    with zipfile.ZipFile(tmp_path / "z.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("x.npy", claim_shape(shape) + b"\0" * 12)
    (tmp_path / "a.npy").unlink()
    with pytest.raises(SamplesError, match=r"'z\.npz' cannot be read"):
        list(load_samples(tmp_path, [free]))


@pytest.mark.parametrize(
    "content", [b"", b"PK\x03\x04broken", b"\x93NUMPY\x09\x00", b"\x93NUMPY\x01\x00\xff\xff"]
)
@pytest.mark.parametrize("suffix", ["npz", "npy"])
def test_damaged_array_files_are_refused(tmp_path: Path, content: bytes, suffix: str) -> None:
    (tmp_path / f"a.{suffix}").write_bytes(content)
    with pytest.raises(SamplesError, match="cannot be read"):
        list(load_samples(tmp_path, [X]))
    with pytest.raises(SamplesError, match="cannot be read"):
        list(load_samples(tmp_path / f"a.{suffix}", [X]))


def test_an_npz_with_a_flipped_byte_is_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=draw(1, 3, 4, 5))
    content = bytearray((tmp_path / "a.npz").read_bytes())
    content[200] ^= 1
    (tmp_path / "a.npz").write_bytes(content)
    with pytest.raises(SamplesError, match="CRC"):
        list(load_samples(tmp_path, [X]))


def test_a_stacked_npy_cut_short_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", draw(4, 3, 4, 5))
    content = (tmp_path / "a.npy").read_bytes()
    (tmp_path / "a.npy").write_bytes(content[:-100])
    with pytest.raises(SamplesError, match="cannot be read"):
        list(load_samples(tmp_path / "a.npy", [X]))


def make_png(width: int, height: int) -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(b""))
        + chunk(b"IEND", b"")
    )


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (make_png(20_000, 20_000), "too large"),
        (make_png(8_000, 8_000), "too large"),
        (make_png(5, 4), "cannot be decoded"),
        (b"", "cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 5 4\n", "cannot be decoded"),
    ],
)
@pytest.mark.filterwarnings("error")
def test_hostile_images_are_refused(tmp_path: Path, content: bytes, message: str) -> None:
    (tmp_path / "a.png").write_bytes(content)
    with pytest.raises(SamplesError, match=message) as caught:
        list(load_samples(tmp_path, [X], preprocess=SPEC))
    assert "'a.png'" in str(caught.value)
