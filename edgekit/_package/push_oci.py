"""A bundle to a registry and back: only files that it lacks are sent, and the manifest comes last."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

from edgekit._bundle import Limits, open_bundle
from edgekit._bundle.names import check_names
from edgekit._bundle.staging import put_in_place, staged
from edgekit._package.oci import (
    ARTIFACT_TYPE,
    BUNDLE,
    CONFIG_TYPE,
    FILEPATH,
    MANIFEST_TYPE,
    digest_of,
    make_modelpack,
)
from edgekit._package.push import PullResult, PushResult
from edgekit._package.registry_client import Registry, parse_place
from edgekit._strict_json import parse_json
from edgekit.errors import BundleError, OutputError

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Progress

_MANIFEST_BYTES = 4 << 20
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_PRIVATE = (
    "golden data and sketches hold numbers of your samples and go with it; "
    "convert with --golden random to leave them out",
)


def push_oci(path: Path, destination: str, progress: Progress) -> PushResult:
    """Push the bundle at `path` to `oci://HOST/REPOSITORY:TAG` as a ModelPack artifact.

    Raises UsageError for another destination, OutputError where the registry refuses or cannot be reached;
    the manifest is written last, so that nobody ever sees half a bundle, and a second try sends the rest.
    """
    place = parse_place(destination)
    registry = Registry(place)
    with open_bundle(path) as bundle:
        pack = make_modelpack(bundle, bundle.artifacts, place.repository.rpartition("/")[2])
        sent = sent_bytes = 0
        blobs: dict[str, Path | bytes] = {item.digest: bundle.folder / item.path for item in pack.layers}
        blobs[digest_of(pack.config)] = pack.config
        for done, (digest, data) in enumerate(blobs.items()):
            progress("push", done, len(blobs))
            if not registry.has_blob(digest):
                registry.push_blob(digest, data)
                sent += 1
                sent_bytes += len(data) if isinstance(data, bytes) else data.stat().st_size
        registry.push_manifest(place.reference, pack.manifest, MANIFEST_TYPE)
        kept = len(blobs) - sent
        told = (
            _PRIVATE
            if any(row["golden"]["kind"] == "samples" for row in bundle.manifest["components"])
            else ()
        )
        return PushResult(str(place), digest_of(pack.manifest), bundle.digest, sent, sent_bytes, kept, told)


def pull_oci(source: str, output: Path, progress: Progress) -> PullResult:
    """Pull what `push_oci` put at `source` into the new folder `output`, every byte checked twice.

    By layer digest, then as a bundle by its own seal. Raises BundleError for a manifest that is none of
    edgekit's or does not hold what it says, OutputError where `output` exists or the registry fails.
    """
    place = parse_place(source)
    if output.exists() or output.is_symlink():
        raise OutputError(f"output '{output}' exists", fix="name another folder with -o")
    registry = Registry(place)
    data = registry.pull_manifest(place.reference, MANIFEST_TYPE, _MANIFEST_BYTES)
    if place.reference.startswith("sha256:") and digest_of(data) != place.reference:
        raise BundleError(
            f"{place}: the manifest has another digest", fix="do not use it; ask who runs the registry"
        )
    layers, bundle_digest = _read_manifest(data, str(place))
    with staged(output) as stage:
        for done, (path, digest, size) in enumerate(layers):
            progress("pull", done, len(layers))
            (stage / path).parent.mkdir(parents=True, exist_ok=True)
            registry.pull_blob(digest, size, stage / path)
        with open_bundle(stage) as bundle:
            if bundle.digest != bundle_digest:
                raise BundleError(
                    f"{place}: its bundle has another digest than its manifest says", fix="do not use it"
                )
        put_in_place(stage, output)
    return PullResult(str(place), digest_of(data), bundle_digest, output)


def _read_manifest(data: bytes, place: str) -> tuple[list[tuple[str, str, int]], str]:
    """(path, digest, size) of each layer, and the bundle's digest; all of it is hostile until checked."""
    try:
        found: Any = parse_json(data)
        if found["artifactType"] != ARTIFACT_TYPE or found["config"]["mediaType"] != CONFIG_TYPE:
            raise KeyError("artifactType")
        layers = [_read_layer(row) for row in found["layers"]]
        digest = str(found["annotations"][BUNDLE])
    except (ValueError, KeyError, TypeError) as error:
        raise BundleError(
            f"{place}: the artifact there is no bundle that edgekit pushed", fix="check repository and tag"
        ) from error
    limits = Limits()
    check_names([path for path, _, _ in layers])
    if len(layers) > limits.files or sum(size for _, _, size in layers) > limits.total_bytes:
        raise BundleError(f"{place}: more files or bytes than a bundle may have", fix="do not use it")
    return layers, digest


def _read_layer(row: Any) -> tuple[str, str, int]:
    """ValueError for a path, digest or size that no push of edgekit writes."""
    path, digest, size = row["annotations"][FILEPATH], row["digest"], row["size"]
    if not isinstance(path, str) or not isinstance(digest, str) or not _DIGEST.fullmatch(digest):
        raise ValueError("path or digest")
    if type(size) is not int or size < 0:
        raise ValueError("size")
    return path, digest, size
