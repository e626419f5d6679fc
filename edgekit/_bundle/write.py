"""Writes a bundle: every file, then the manifest that seals them, then one rename."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from dataclasses import replace
from io import BytesIO
from typing import TYPE_CHECKING, BinaryIO, Literal

from edgekit._bundle.archive import archive_ending, pack_archive
from edgekit._bundle.layouts import in_file_layout
from edgekit._bundle.limits import Limits
from edgekit._bundle.manifest import (
    Json,
    bundle_digest,
    record_name,
    render_manifest,
    sequence_names,
    sketches_name,
)
from edgekit._bundle.names import MANIFEST, check_component, check_name, check_names
from edgekit._bundle.npy import write_npy
from edgekit._bundle.read import check_folder, compare_names, list_files, read_manifest
from edgekit._bundle.readme import render_readme
from edgekit._bundle.staging import put_in_place, staged, swap_in_place
from edgekit.errors import BundleError, OutputError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np

    from edgekit._bundle.draft import BundleDraft
    from edgekit._bundle.read import Bundle
    from edgekit._verify import Golden

Existing = Literal["refuse", "replace"]

_CHUNK = 1 << 20
README = "README.md"
_OURS = ("manifest.json", "calibration", "golden")


def write_bundle(draft: BundleDraft, folder: Path, *, existing: Existing = "refuse") -> str:
    """Write the draft to `folder` in one rename and return its digest.

    The same bundle already there is left as it is. Another bundle is kept (OutputError) unless
    `existing` is `replace`; anything that is no bundle is always kept. Nothing is left behind
    after an error, and after a kill only a hidden folder that the next run removes.
    """
    with staged(folder) as stage:
        _fill(draft, stage)
        return _settle(stage, folder, existing).digest


def copy_bundle(source: Path, folder: Path, *, existing: Existing = "refuse") -> Bundle:
    """Put a copy of the bundle at `source` to `folder`, by the same rules; returns it, checked."""
    with staged(folder) as stage:
        for path in sorted(source.rglob("*")):  # copytree would hide why a write failed
            copy = stage / path.relative_to(source)
            copy.mkdir() if path.is_dir() else shutil.copy2(path, copy, follow_symlinks=False)
        return _settle(stage, folder, existing)


def _settle(stage: Path, folder: Path, existing: Existing) -> Bundle:
    """Check what the disk gives back, as whoever opens it will, and rename it into place."""
    bundle = check_folder(stage, Limits())
    if not os.path.lexists(folder):
        put_in_place(stage, folder)
    elif not _is_same(folder, bundle.digest, existing):
        swap_in_place(stage, folder)
    return replace(bundle, folder=folder)


def write_archive(folder: Path, archive: Path, *, existing: Existing = "refuse") -> None:
    """Pack a checked bundle folder as `.tar.gz` or `.zip`, beside it or anywhere, in one rename.

    An existing file is kept (OutputError) unless `existing` is `replace` or it has the same bytes.
    """
    bundle = check_folder(folder, Limits())
    archive_ending(archive)
    with staged(archive) as stage:
        packed = stage / archive.name
        pack_archive(folder, packed, dict(bundle.manifest))
        if archive.exists() and not archive.is_file():
            raise OutputError(f"archive '{archive}' is no file", fix="choose another name")
        if archive.exists() and existing == "refuse" and _digest(archive) != _digest(packed):
            raise OutputError(f"archive '{archive}' exists", fix="choose another name, or add --overwrite")
        with packed.open("rb") as file:
            os.fsync(file.fileno())
        packed.replace(archive)


def _is_same(folder: Path, digest: str, existing: Existing) -> bool:
    """True where this very bundle lies there whole; False where it is to be replaced."""
    limits = Limits()
    try:
        if folder.is_symlink():
            raise BundleError(f"'{folder}' is a link", fix="name the folder itself")
        old, manifest = read_manifest(folder, limits)
        names = list_files(folder, limits)
    except BundleError as error:
        raise OutputError(
            f"output '{folder}' exists and is no edgekit bundle ({error.problem})",
            fix="choose another folder; it was left as it is",
        ) from error
    try:
        compare_names(names, manifest)
        if bundle_digest(old) == digest:
            check_folder(folder, limits)
            return True
    except BundleError as error:
        if names - {MANIFEST, *manifest["files"]}:
            raise OutputError(
                f"output '{folder}' holds more than a bundle: {error.problem}", fix=error.fix
            ) from error
    if existing == "replace":
        return False
    raise OutputError(
        f"output '{folder}' holds another bundle ({bundle_digest(old)[:12]}) or a damaged one",
        fix="choose another folder with -o, or add --overwrite",
    )


def _fill(draft: BundleDraft, stage: Path) -> bytes:
    """Write everything into the stage; the manifest's bytes."""
    draft = in_file_layout(draft)
    files: dict[str, Json] = {}
    taken = [*(name for artifact in draft.artifacts for name in artifact.files), *draft.extras]
    names = sorted(set(taken))
    texts = _texts(draft, has_readme=README in names)
    for name in (*names, *draft.documents):
        _refuse_ours(name)
    check_names([*names, *texts])
    for name in names:
        files[name] = _copy(draft.built, name, stage)
    for name, text in texts.items():
        files[name] = _write(stage, name, text)
    golden: dict[str, Json] = {}
    for component in draft.components:
        check_component(component.name)
        golden[component.name] = _write_golden(component.golden, f"golden/{component.name}", stage, files)
    if draft.sequence is not None:
        for role, name in sequence_names(draft.sequence).items():
            _write_array(getattr(draft.sequence, role), name, role, stage, files)
    manifest = render_manifest(draft, files, golden)
    _refuse_host_paths(manifest, draft.built)
    _write(stage, MANIFEST, manifest)
    return manifest


def _texts(draft: BundleDraft, *, has_readme: bool) -> dict[str, bytes]:
    """What is written from memory: calibration records and sketches, documents and the README."""
    records = {
        place(check_component(component.name)): data
        for component in draft.components
        for place, data in ((record_name, component.record), (sketches_name, component.sketches))
        if data is not None
    }
    readme = {} if has_readme else {README: render_readme(draft).encode()}
    return {**records, **draft.documents, **readme}


def _refuse_ours(name: str) -> None:
    if check_name(name).casefold().split("/")[0] in _OURS:
        raise BundleError(f"bundle file '{name}' takes a name that the bundle itself uses", fix="rename it")


def _refuse_host_paths(manifest: bytes, built: Path) -> None:
    for folder in (built, built.resolve()):
        if len(folder.parts) > 1 and str(folder).encode() in manifest:
            raise BundleError(
                f"{MANIFEST} would name the build folder '{folder}', which varies between runs",
                fix="let the target write paths relative to its build folder",
            )


def _copy(built: Path, name: str, stage: Path) -> Json:
    source = built / name
    inside = source.resolve().is_relative_to(built.resolve())
    if source.is_symlink() or not source.is_file() or not inside:
        raise BundleError(
            f"built file '{name}' is missing, a link or outside its folder", fix="build it again"
        )
    executable = bool(source.stat().st_mode & stat.S_IXUSR)
    with source.open("rb") as file:
        return _write_stream(stage, name, file, executable=executable)


def _write(stage: Path, name: str, data: bytes) -> Json:
    return _write_stream(stage, name, BytesIO(data), executable=False)


def _write_stream(stage: Path, name: str, source: BinaryIO, *, executable: bool) -> Json:
    """Copy in pieces, hash on the way, sync; the manifest's row."""
    path = stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    digest, size = hashlib.sha256(), 0
    with path.open("xb") as out:
        while chunk := source.read(_CHUNK):
            out.write(chunk)
            digest.update(chunk)
            size += len(chunk)
        out.flush()
        os.fsync(out.fileno())
    path.chmod(0o755 if executable else 0o644)
    return {"sha256": digest.hexdigest(), "size": size, "executable": executable}


def _write_golden(golden: Golden, folder: str, stage: Path, files: dict[str, Json]) -> Json:
    """Write one component's golden arrays under numbered names; tensor names stay inside the manifest."""
    rows: list[Json] = []
    for index, sample in enumerate(golden.samples):
        place = f"{folder}/{index:03d}"
        row: Json = {"reference": None}
        for role, arrays in (
            ("inputs", sample.feeds),
            ("fp32", sample.fp32),
            ("reference", sample.reference),
        ):
            if arrays is not None:
                row[role] = _write_arrays(arrays, f"{place}/{role}", stage, files)
        rows.append(row)
    known = {} if golden.scores is None else {"scores": sorted(golden.scores)}
    return {"kind": golden.kind, "samples": rows} | known


def _write_arrays(
    arrays: Mapping[str, np.ndarray], prefix: str, stage: Path, files: dict[str, Json]
) -> dict[str, str]:
    placed: dict[str, str] = {}
    for number, tensor in enumerate(sorted(arrays)):
        name = f"{prefix}-{number}.npy"
        _write_array(arrays[tensor], name, tensor, stage, files)
        placed[tensor] = name
    return placed


def _write_array(array: np.ndarray, name: str, tensor: str, stage: Path, files: dict[str, Json]) -> None:
    path = stage / name
    path.parent.mkdir(parents=True, exist_ok=True)
    write_npy(path, array, name=tensor)
    with path.open("rb") as file:
        os.fsync(file.fileno())
    path.chmod(0o644)
    files[name] = {"sha256": _digest(path), "size": path.stat().st_size, "executable": False}


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
