"""Finds what a .mlpackage folder holds, without following a path that leads out of it."""

from __future__ import annotations

import json
import logging
import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.errors import BundleError, CannotRunHere

if TYPE_CHECKING:
    from pathlib import Path

_MANIFEST_BYTES = 1 << 20
# protobuf itself reads no message of 2 GiB or more.
_MODEL_BYTES = (1 << 31) - 1


@dataclass(frozen=True)
class Package:
    """One package: its parsed Model message and the folder that `@model_path` stands for.

    `root` is the package's Data folder; no file outside it is ever opened.
    """

    name: str
    model: Any
    folder: Path
    root: Path


def open_package(path: Path) -> Package:
    """Read the manifest and the model specification; weights stay on disk.

    BundleError: no such package, a broken manifest or specification, a path that leaves the package.
    CannotRunHere: coremltools is not installed.
    """
    if not path.is_dir():
        raise BundleError(f"{path.name} is not a .mlpackage folder", fix="give the .mlpackage folder itself")
    root = (path / "Data").resolve()
    manifest = _read_manifest(path)
    file = find_inside(root, _root_path(manifest, path.name), path.name)
    if file.stat().st_size > _MODEL_BYTES:
        raise BundleError(
            f"{path.name}: the model specification exceeds 2 GiB", fix="build the package again"
        )
    return Package(path.name, _parse(file.read_bytes(), path.name), file.parent, root)


def find_inside(root: Path, relative: str, package: str) -> Path:
    """An existing plain file below `root`; BundleError for any path that would leave it."""
    parts = relative.split("/")
    if not relative or "\\" in relative or "\0" in relative or {"", ".", ".."} & set(parts):
        raise BundleError(
            f"{package} names the path {relative!r}, which may leave the package",
            fix="do not use this package; build it again from its model",
        )
    file = (root / relative).resolve()
    if not file.is_relative_to(root):
        raise BundleError(
            f"{package}: {relative!r} is a link out of the package",
            fix="do not use this package; build it again from its model",
        )
    if not file.exists() or not stat.S_ISREG(file.stat().st_mode):
        raise BundleError(
            f"{package}: the file {relative!r} is missing", fix="copy the whole package, or build it again"
        )
    return file


def _read_manifest(path: Path) -> dict[str, Any]:
    file = find_inside(path.resolve(), "Manifest.json", path.name)
    if file.stat().st_size > _MANIFEST_BYTES:
        raise BundleError(f"{path.name}: Manifest.json exceeds 1 MiB", fix="build the package again")
    try:
        manifest = json.loads(file.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{path.name}: Manifest.json is no JSON", fix="copy the whole package, or build it again"
        ) from error
    if not isinstance(manifest, dict):
        raise BundleError(f"{path.name}: Manifest.json holds no object", fix="build the package again")
    return manifest


def _root_path(manifest: dict[str, Any], name: str) -> str:
    """The path of the root model, relative to Data."""
    entries, root = manifest.get("itemInfoEntries"), manifest.get("rootModelIdentifier")
    entry = entries.get(root) if isinstance(entries, dict) and isinstance(root, str) else None
    path = entry.get("path") if isinstance(entry, dict) else None
    if not isinstance(path, str):
        raise BundleError(f"{name}: Manifest.json names no root model", fix="build the package again")
    return path


def _parse(data: bytes, name: str) -> Any:
    Model_pb2, DecodeError = import_proto()  # noqa: N806 - a module and a class
    model = Model_pb2.Model()
    try:
        model.ParseFromString(data)
    except (DecodeError, ValueError, RuntimeError) as error:
        raise BundleError(
            f"{name}: the model specification is damaged: {str(error)[:200]}",
            fix="copy the whole package, or build it again",
        ) from error
    kind = model.WhichOneof("Type")
    if kind != "mlProgram":
        raise CannotRunHere(
            f"{name} holds a model of the kind '{kind or 'none'}', not an ML program",
            fix="build it as an ML program (.mlpackage for iOS 15 or later); older kinds need a Mac",
        )
    return model


def import_proto() -> tuple[Any, type[Exception]]:
    """(coremltools' Model_pb2, protobuf's DecodeError), without the warnings about not being a Mac."""
    logger = logging.getLogger("coremltools")
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        from coremltools.proto import Model_pb2
        from google.protobuf.message import DecodeError
    except ImportError as error:
        raise CannotRunHere("coremltools is not installed", fix='pip install "edgekit[coreml]"') from error
    finally:
        logger.setLevel(level)
    return Model_pb2, DecodeError
