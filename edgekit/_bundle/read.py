"""Opens a bundle, folder or archive, and checks every byte before anything in it is used."""

from __future__ import annotations

import hashlib
import os
import stat
import tempfile
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._bundle.archive import is_archive, unpack_archive
from edgekit._bundle.layouts import in_source_layout, layouts_of
from edgekit._bundle.limits import Limits
from edgekit._bundle.manifest import SEQUENCE, Json, artifact_value, bundle_digest, parse_manifest
from edgekit._bundle.names import MANIFEST, check_names
from edgekit._bundle.npy import read_npy
from edgekit._verify import ForcedSequence, Golden, GoldenSample
from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    import numpy as np

    from edgekit._values import Artifact

_CHUNK = 1 << 20
_COPY_AGAIN = "take an unchanged copy of the bundle, or convert again"


@dataclass(frozen=True)
class Bundle:
    """An opened bundle whose every byte has been checked; `manifest` is its checked JSON."""

    folder: Path
    digest: str
    manifest: Mapping[str, Any]
    limits: Limits

    @property
    def target(self) -> str:
        return str(self.manifest["target"])

    @property
    def artifacts(self) -> tuple[Artifact, ...]:
        return tuple(artifact_value(row) for row in self.manifest["artifacts"])

    def golden(self, component: str) -> Golden:
        """The golden data of one component, read from its .npy files, in the source's layout."""
        return in_source_layout(self.stored_golden(component), layouts_of(component, self.artifacts))

    def stored_golden(self, component: str) -> Golden:
        """The same in the layout of the component's files, in which a device takes and gives it."""
        for row in self.manifest["components"]:
            if row["name"] == component:
                samples = tuple(self._sample(sample) for sample in row["golden"]["samples"])
                scores = row["golden"].get("scores")
                known = None if scores is None else frozenset(scores)
                return Golden(component, row["golden"]["kind"], samples, known)
        raise BundleError(f"{MANIFEST}: no component '{component[:80]}'", fix=_COPY_AGAIN)

    def sequence(self) -> ForcedSequence | None:
        """What the steps of the bundle's decoder are proven on; None where it holds none."""
        row = self.manifest.get("sequence")
        if row is None:
            return None
        arrays = self._arrays({role: row[role] for role in SEQUENCE if role in row})
        return ForcedSequence(row["decode"], row["prefill"], row["prompt"], **arrays)

    def _sample(self, row: Json) -> GoldenSample:
        reference = row["reference"]
        return GoldenSample(
            feeds=self._arrays(row["inputs"]),
            fp32=self._arrays(row["fp32"]),
            reference=None if reference is None else self._arrays(reference),
        )

    def _arrays(self, files: Mapping[str, str]) -> dict[str, np.ndarray]:
        return {
            name: read_npy(self.folder / file, most=self.limits.tensor_bytes) for name, file in files.items()
        }


@contextmanager
def open_bundle(path: Path, limits: Limits | None = None) -> Iterator[Bundle]:
    """A checked Bundle from a folder or archive; an archive is unpacked to a folder that goes with it.

    BundleError names the file and the rule: a changed, missing or added file, a link, a name that
    climbs out, more than `limits` allow, or a manifest that is not sealed.
    """
    limits = limits or Limits()
    if not is_archive(path):
        yield check_folder(path, limits)
        return
    with tempfile.TemporaryDirectory(prefix="edgekit-") as unpacked:
        folder = Path(unpacked)
        unpack_archive(path, folder, limits)
        yield check_folder(folder, limits)


def check_folder(folder: Path, limits: Limits) -> Bundle:
    """Check a bundle folder file by file against its manifest."""
    data, manifest = read_manifest(folder, limits)
    found = list_files(folder, limits)
    compare_names(found, manifest)
    for name, row in manifest["files"].items():
        _check_file(folder / name, name, row)
    _check_references(manifest)
    return Bundle(folder, bundle_digest(data), manifest, limits)


def read_manifest(folder: Path, limits: Limits) -> tuple[bytes, Json]:
    """The manifest's bytes and checked content; names and sizes in it are checked, files are not."""
    path = folder / MANIFEST
    try:
        status = path.lstat()
    except OSError as error:
        raise BundleError(
            f"'{folder}' is no bundle: it has no {MANIFEST}",
            fix="give a folder or archive that edgekit wrote",
        ) from error
    if not stat.S_ISREG(status.st_mode) or status.st_size > limits.manifest_bytes:
        raise BundleError(f"{MANIFEST} is no file of at most {limits.manifest_bytes} bytes", fix=_COPY_AGAIN)
    data = path.read_bytes()
    manifest = parse_manifest(data)
    check_sizes(manifest, limits)
    return data, manifest


def check_sizes(manifest: Json, limits: Limits) -> None:
    """BundleError for unsafe names, or more and larger files than `limits` allow."""
    files = manifest["files"]
    check_names([MANIFEST, *files])
    sizes = [row["size"] for row in files.values()]
    if len(sizes) > limits.files or sum(sizes) > limits.total_bytes:
        raise BundleError(
            f"{MANIFEST}: {len(sizes)} files of {sum(sizes)} bytes, more than {limits.files} files"
            f" or {limits.total_bytes} bytes",
            fix="split the model into smaller bundles",
        )


def list_files(folder: Path, limits: Limits) -> set[str]:
    """Every file under the folder by relative name; BundleError for links and special files."""
    found: set[str] = set()
    for parent, folders, names in os.walk(folder, followlinks=False):
        for name in [*folders, *names]:
            path = Path(parent, name)
            inner = path.relative_to(folder).as_posix()
            mode = path.lstat().st_mode
            if stat.S_ISREG(mode):
                found.add(inner)
            elif not stat.S_ISDIR(mode):
                raise BundleError(f"bundle file {inner!r} is a link or no plain file", fix=_COPY_AGAIN)
            if len(found) > limits.files:
                raise BundleError(f"the bundle holds more than {limits.files} files", fix=_COPY_AGAIN)
    return found


def compare_names(found: set[str], manifest: Json) -> None:
    """BundleError for a file that the manifest does not name, or one it names that is not there."""
    listed = {MANIFEST, *manifest["files"]}
    if added := sorted(found - listed):
        raise BundleError(f"bundle file {added[0]!r} is not in {MANIFEST}", fix="move it out of the bundle")
    if absent := sorted(listed - found):
        raise BundleError(f"bundle file '{absent[0]}' is missing", fix=_COPY_AGAIN)


def _check_file(path: Path, name: str, row: Json) -> None:
    size = path.stat().st_size
    if size != row["size"]:
        raise BundleError(f"bundle file '{name}': {size} bytes instead of {row['size']}", fix=_COPY_AGAIN)
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    if digest.hexdigest() != row["sha256"]:
        raise BundleError(f"bundle file '{name}': its sha256 is not the manifest's", fix=_COPY_AGAIN)


def _check_references(manifest: Json) -> None:
    """Every file that the manifest speaks of is one of its checked files."""
    spoken = [name for row in manifest["artifacts"] for name in row["files"]]
    spoken += manifest["documents"]
    sequence = manifest.get("sequence")
    spoken += [] if sequence is None else [sequence[role] for role in SEQUENCE if role in sequence]
    components = {row["name"] for row in manifest["components"]}
    for row in manifest["components"]:
        spoken += [row["calibration"]["file"]] if row["calibration"] else []
        spoken += [row["sketches"]] if "sketches" in row else []
        for sample in row["golden"]["samples"]:
            for names in (sample["inputs"], sample["fp32"], sample["reference"] or {}):
                spoken += names.values()
    for name in spoken:
        if name not in manifest["files"]:
            raise BundleError(
                f"{MANIFEST} speaks of {name[:200]!r}, which is not among its files", fix=_COPY_AGAIN
            )
    for row in manifest["artifacts"]:
        if row["component"] not in components or not _holds_main(row):
            raise BundleError(
                f"{MANIFEST}: artifact {row['main'][:200]!r} has no component or is not in its own files",
                fix=_COPY_AGAIN,
            )


def _holds_main(row: Json) -> bool:
    """Whether an artifact's main file (or folder, as a .mlpackage) is among its own files."""
    folder = f"{row['main']}/"
    return any(name == row["main"] or name.startswith(folder) for name in row["files"])
