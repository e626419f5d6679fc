"""A CNCF ModelPack artifact as an OCI image layout: a layer a file, so that equal files are stored once.

Source: github.com/modelpack/model-spec (media types of `vnd.cncf.model`), OCI image-spec 1.1.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._package.job import PackageJob
    from edgekit._values import Artifact

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"
ARTIFACT_TYPE = "application/vnd.cncf.model.manifest.v1+json"
CONFIG_TYPE = "application/vnd.cncf.model.config.v1+json"
FILEPATH = "org.cncf.model.filepath"
BUNDLE = "io.edgekit.bundle"
_WEIGHT = "application/vnd.cncf.model.weight.v1.raw"
_DOC = "application/vnd.cncf.model.doc.v1.raw"
_CODE = "application/vnd.cncf.model.code.v1.raw"
_DATASET = "application/vnd.cncf.model.dataset.v1.raw"
_SETTINGS = "application/vnd.cncf.model.weight.config.v1.raw"
_CODE_ENDINGS = (".py", ".sh", ".kt", ".swift")


@dataclass(frozen=True)
class Layer:
    """One file of the bundle: its path there, media type, digest (`sha256:...`) and size in bytes."""

    path: str
    media_type: str
    digest: str
    size: int

    def descriptor(self) -> dict[str, Any]:
        return {
            "mediaType": self.media_type,
            "digest": self.digest,
            "size": self.size,
            "annotations": {FILEPATH: self.path},
        }


@dataclass(frozen=True)
class ModelPack:
    """The manifest and configuration (canonical JSON) of one bundle, and its layers."""

    manifest: bytes
    config: bytes
    layers: tuple[Layer, ...]


def write_oci(job: PackageJob, out: Path) -> list[str]:
    """`out` becomes an OCI image layout of the whole bundle, so that it can be proven after a pull."""
    pack = make_modelpack(job.bundle, job.artifacts, job.name)
    blobs = out / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    for layer in pack.layers:
        place = blobs / layer.digest.removeprefix("sha256:")
        if not place.exists():
            shutil.copyfile(job.bundle.folder / layer.path, place)
    for data in (pack.config, pack.manifest):
        (blobs / hashlib.sha256(data).hexdigest()).write_bytes(data)
    described = {
        "mediaType": MANIFEST_TYPE,
        "artifactType": ARTIFACT_TYPE,
        "digest": digest_of(pack.manifest),
        "size": len(pack.manifest),
        "annotations": {"org.opencontainers.image.ref.name": job.name},
    }
    (out / "oci-layout").write_bytes(canonical({"imageLayoutVersion": "1.0.0"}))
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": [described],
    }
    (out / "index.json").write_bytes(canonical(index))
    return [f"manifest {digest_of(pack.manifest)}, {len(pack.layers)} layers"]


def make_modelpack(bundle: Bundle, artifacts: Sequence[Artifact], name: str) -> ModelPack:
    """The manifest of a bundle; the same bundle gives the same bytes. The manifest's own file comes first."""
    from edgekit._bundle import MANIFEST

    weights = {file for artifact in bundle.artifacts for file in artifact.files}
    own = (bundle.folder / MANIFEST).read_bytes()
    layers = [Layer(MANIFEST, _SETTINGS, digest_of(own), len(own))]
    for path, row in sorted(bundle.manifest["files"].items()):
        layers.append(Layer(path, _media_type(path, weights), f"sha256:{row['sha256']}", row["size"]))
    config = canonical(_config(bundle, artifacts, name, layers))
    manifest = canonical(
        {
            "schemaVersion": 2,
            "mediaType": MANIFEST_TYPE,
            "artifactType": ARTIFACT_TYPE,
            "config": {"mediaType": CONFIG_TYPE, "digest": digest_of(config), "size": len(config)},
            "layers": [layer.descriptor() for layer in layers],
            "annotations": {BUNDLE: bundle.digest, "io.edgekit.device": bundle.manifest["device"]["name"]},
        }
    )
    return ModelPack(manifest, config, tuple(layers))


def _config(
    bundle: Bundle, artifacts: Sequence[Artifact], name: str, layers: Sequence[Layer]
) -> dict[str, object]:
    first = artifacts[0]
    licences = sorted({row["licence"] for row in bundle.manifest["components"] if row["licence"]})
    descriptor: dict[str, object] = {"name": name, "revision": bundle.digest}
    if licences:
        descriptor["licenses"] = licences
    technical = {"format": first.main.rpartition(".")[2], "precision": first.variant}
    if bundle.manifest["scheme"]:
        technical["quantization"] = bundle.manifest["scheme"]
    # A raw layer is its own content, so that its diff id is its digest.
    files = {"type": "layers", "diffIds": [layer.digest for layer in layers]}
    return {"descriptor": descriptor, "config": technical, "modelfs": files}


def _media_type(path: str, weights: set[str]) -> str:
    if path in weights:
        return _WEIGHT
    if path.startswith("golden/"):
        return _DATASET
    if path.endswith(_CODE_ENDINGS):
        return _CODE
    return _DOC if path.endswith(".md") else _SETTINGS


def digest_of(data: bytes) -> str:
    """`sha256:` and the hexadecimal sha256 of the bytes."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def canonical(value: object) -> bytes:
    """JSON with sorted keys and no spaces: the same value gives the same bytes."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=True).encode()
