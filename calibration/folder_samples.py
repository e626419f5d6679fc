"""A folder with one sample a file: images, .npz or .npy, and labels.csv beside them."""

from __future__ import annotations

import csv
import hashlib
from functools import lru_cache
from typing import TYPE_CHECKING

from edgekit.calibration.fit_sample import fit_sample
from edgekit.calibration.read_array import read_npy, read_npz
from edgekit.calibration.read_image import read_image
from edgekit.calibration.samples import Sample, Samples
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from edgekit._values import TensorInfo
    from edgekit.calibration.preprocess import Preprocess
    from edgekit.calibration.samples import Array

_KINDS = {".npz": "npz", ".npy": "npy"} | dict.fromkeys(
    (".png", ".jpg", ".jpeg", ".bmp", ".webp", ".ppm", ".pgm", ".tif", ".tiff"), "images"
)
_LABELS = "labels.csv"


def load_folder(
    folder: Path, inputs: Sequence[TensorInfo], *, preprocess: Preprocess | None, limit: int | None
) -> Samples:
    """Samples from the files of `folder` (no subfolders), sorted by name; other files are passed over."""
    files = sorted(path for path in folder.iterdir() if path.suffix.lower() in _KINDS and path.is_file())
    kinds = sorted({_KINDS[path.suffix.lower()] for path in files})
    if len(kinds) != 1:
        problem = f"mixes {' and '.join(kinds)}" if kinds else "holds no images, .npz or .npy files"
        raise SamplesError(f"sample folder '{folder}' {problem}", fix="give a folder of one kind of sample")
    files = files[:limit]
    read = _choose_reader(kinds[0], inputs, preprocess)

    def read_file(path: Path) -> Sample:
        return Sample(path.name, fit_sample(path.name, read(path), inputs))

    spec = preprocess if kinds[0] == "images" else None
    return Samples(
        digest=_digest_files(files, f"{kinds[0]}\0{spec or ''}"),
        kind="real",
        description=f"{len(files)} {'images' if spec else f'.{kinds[0]} files'} of '{folder}'",
        count=len(files),
        read=lambda: map(read_file, files),
        labels=_read_labels(folder / _LABELS, files),
        preprocess=spec,
        at=lambda place: read_file(files[place]),
    )


def _choose_reader(
    kind: str, inputs: Sequence[TensorInfo], preprocess: Preprocess | None
) -> Callable[[Path], dict[str, Array]]:
    if kind == "npz":
        return read_npz
    if len(inputs) != 1:
        raise SamplesError(
            f"the model has {len(inputs)} inputs, and one file of these gives only one",
            fix="give a folder of .npz files whose keys are the input names",
        )
    info = inputs[0]
    if kind == "npy":
        return lambda path: {info.name: read_npy(path)}
    spec = _check_image_input(info, preprocess)
    return lambda path: {info.name: read_image(path, spec)}


def _check_image_input(info: TensorInfo, preprocess: Preprocess | None) -> Preprocess:
    if info.dtype != "float32" or len(info.shape) not in (3, 4):
        raise SamplesError(
            f"input '{info.name}' is {info.dtype} of {len(info.shape)} dims, no image of float32",
            fix="give a folder of .npz files, or one .npy",
        )
    if preprocess is None:
        height, width = info.shape[-2:] if info.shape[-1] not in (1, 3) else info.shape[-3:-1]
        size = f"{width}x{height}" if isinstance(height, int) and isinstance(width, int) else "WIDTHxHEIGHT"
        raise SamplesError(
            "images need to know how they become the model's input",
            fix=f"add --preprocess size={size},mean=0.5,std=0.5,colour=RGB as the model was trained",
        )
    return preprocess


def _digest_files(files: Sequence[Path], spec: str) -> str:
    total = hashlib.sha256(spec.encode())
    for path in files:
        facts = path.stat()
        total.update(_digest_file(path, (facts.st_ino, facts.st_size, facts.st_mtime_ns, facts.st_ctime_ns)))
    return total.hexdigest()


@lru_cache(maxsize=1 << 16)  # one convert asks for its samples' digest several times
def _digest_file(path: Path, facts: tuple[int, ...]) -> bytes:
    """Sha256 of a file's bytes, while its `facts` (inode, size, times) stay as they are."""
    del facts
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").digest()


def _read_labels(path: Path, files: Sequence[Path]) -> tuple[str, ...] | None:
    """One label a sample from the columns `file` and `label`, or None without labels.csv."""
    if not path.is_file():
        return None
    try:
        with path.open(encoding="utf-8", newline="") as stream:
            rows = list(csv.DictReader(stream, strict=True))
        found = {row["file"]: row["label"] for row in rows}
        absent = sorted(name for name in found if not (path.parent / str(name)).is_file())
        if absent:
            raise SamplesError(
                f"'{path}' labels '{absent[0]}', which is no file beside it: {len(absent)} such row(s)",
                fix="write the columns file,label with one row a sample, named as the files are",
            )
        return tuple(_require_text(found[file.name]) for file in files)
    except (KeyError, TypeError, UnicodeDecodeError, csv.Error) as error:
        raise SamplesError(
            f"'{path}' gives no label for every sample: {error}",
            fix="write the columns file,label with one row a sample, or remove it",
        ) from error


def _require_text(label: str | None) -> str:
    if label is None:
        raise TypeError("a row has no label")
    return label
