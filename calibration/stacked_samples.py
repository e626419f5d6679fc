"""One .npz or .npy file with all samples stacked on axis 0, read row by row."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.fit_sample import fit_sample, fit_shape
from edgekit.calibration.read_array import explain_failures, open_members, read_block, read_header
from edgekit.calibration.samples import Sample, Samples
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgekit._values import TensorInfo
    from edgekit.calibration.read_array import ArrayHeader

_LABELS = ("label", "labels")


def load_stacked(path: Path, inputs: Sequence[TensorInfo], limit: int | None) -> Samples:
    """Samples from the rows of a stacked file; an .npz key `label` or `labels` that is no input labels."""
    headers = _read_headers(path, inputs)
    wanted = {info.name for info in inputs}
    counts = {name: header.shape[0] for name, header in headers.items()}
    count = min(counts.values())
    if len(set(counts.values())) != 1 or count == 0:
        found = ", ".join(f"'{name}' {rows}" for name, rows in sorted(counts.items()))
        raise SamplesError(
            f"'{path.name}' has rows: {found}", fix="stack as many samples in every array, at least one"
        )
    for info in inputs:
        fit_shape(f"'{path.name}', input '{info.name}', one row", headers[info.name].shape[1:], info)
    taken = count if limit is None else min(count, limit)
    with path.open("rb") as stream:
        content = hashlib.file_digest(stream, "sha256").hexdigest()

    def read_all() -> Iterator[Sample]:
        rows = _read_npy_rows(path, inputs[0]) if path.suffix == ".npy" else _read_npz_rows(path, wanted)
        for index, row in zip(range(taken), rows, strict=False):
            name = f"{path.name}[{index}]"
            yield Sample(name, fit_sample(name, row, inputs))

    labels = [name for name in _LABELS if name in headers and name not in wanted]
    return Samples(
        digest=hashlib.sha256(f"stacked\0{content}\0{taken}".encode()).hexdigest(),
        kind="real",
        description=f"{taken} rows of '{path}'",
        count=taken,
        read=read_all,
        labels=_read_labels(path, labels[0], taken) if labels else None,
    )


def _read_headers(path: Path, inputs: Sequence[TensorInfo]) -> dict[str, ArrayHeader]:
    """The header of every array, by input name; wrong names and Fortran order are refused."""
    wanted = [info.name for info in inputs]
    with explain_failures(path):
        if path.suffix == ".npy":
            if len(wanted) != 1:
                raise SamplesError(
                    f"the model has {len(wanted)} inputs, '{path.name}' gives one", fix="give an .npz file"
                )
            with path.open("rb") as stream:
                headers = {wanted[0]: read_header(stream)}
        else:
            with open_members(path) as members:
                headers = {name: read_header(stream) for name, stream in members.items()}
    if not set(wanted) <= set(headers) or set(headers) - set(wanted) - set(_LABELS):
        raise SamplesError(
            f"'{path.name}' holds {sorted(headers)}, the model reads {sorted(wanted)}",
            fix="name the arrays as `edgekit inspect` names the inputs (and `labels`)",
        )
    for name, header in headers.items():
        if header.fortran or not header.shape:
            raise SamplesError(
                f"array '{name}' of '{path.name}' is in Fortran order or has no axis to take samples from",
                fix="save numpy.ascontiguousarray(samples), stacked on axis 0",
            )
    return headers


def _read_npy_rows(path: Path, info: TensorInfo) -> Iterator[dict[str, np.ndarray]]:
    with explain_failures(path):
        stack = np.load(path, mmap_mode="r", allow_pickle=False)
    for row in stack:
        yield {info.name: np.array(row)}


def _read_npz_rows(path: Path, wanted: set[str]) -> Iterator[dict[str, np.ndarray]]:
    with explain_failures(path), open_members(path) as members:
        headers = {name: read_header(members[name]) for name in sorted(wanted)}
        for _ in range(next(iter(headers.values())).shape[0]):
            yield {
                name: read_block(members[name], header.shape[1:], header) for name, header in headers.items()
            }


def _read_labels(path: Path, name: str, taken: int) -> tuple[str, ...]:
    with explain_failures(path), open_members(path) as members:
        header = read_header(members[name])
        labels = read_block(members[name], (taken, *header.shape[1:]), header)
    if labels.ndim != 1:
        raise SamplesError(f"'{name}' of '{path.name}' has {labels.ndim} axes", fix="give one label a sample")
    return tuple(str(label) for label in labels)
