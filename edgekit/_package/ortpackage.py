"""An ONNX Runtime model package: its components, and the variants among which the runtime itself chooses.

Source: onnxruntime, model_package/README.md (schema 1.0) and core/session/model_package (its slot `ort`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

from edgekit._package.choose_artifacts import runtime_of
from edgekit._package.copy_artifact import copy_artifact

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._package.job import PackageJob
    from edgekit._values import Artifact

# Target -> what its files are made for, where that is not the CPU provider.
_DEVICES = {"tensorrt": ("TensorrtExecutionProvider", "gpu")}
# A runtime takes the first of equal variants: the one that a user came for stands first.
_ORDER = ("int8", "int4", "fp16", "fp32")


def write_ortpackage(job: PackageJob, out: Path) -> list[str]:
    """`out` becomes a package in the portable layout, which `onnxruntime.ModelPackageContext` opens."""
    bundle, artifacts = job.bundle, job.artifacts
    components = list(dict.fromkeys(artifact.component for artifact in artifacts))
    for component in components:
        own = [artifact for artifact in artifacts if artifact.component == component]
        variants = {artifact.variant: _write_variant(bundle, artifact, out) for artifact in _ordered(own)}
        _write_json(out / component / "component.json", {"component_name": component, "variants": variants})
    _write_json(
        out / "manifest.json",
        {
            "schema_version": "1.0",
            "package_name": job.name,
            "package_version": bundle.digest[:12],
            "layout": "portable",
            "components": {component: component for component in components},
            "additional_metadata": {"edgekit": {"bundle": bundle.digest, "target": bundle.target}},
        },
    )
    first = _ordered(artifacts)[0].variant
    return [
        f"open it with onnxruntime.ModelPackageContext(DIR); among equals it takes {first}, the first one"
    ]


def _ordered(artifacts: Sequence[Artifact]) -> list[Artifact]:
    places = {variant: place for place, variant in enumerate(_ORDER)}
    return sorted(artifacts, key=lambda item: places.get(item.variant, len(_ORDER)))


def _write_variant(bundle: Bundle, artifact: Artifact, out: Path) -> dict[str, Any]:
    """Copy the files and return the variant's entry in component.json."""
    copy_artifact(bundle, artifact, out / artifact.component / artifact.variant)
    provider, device = _DEVICES.get(bundle.target, (runtime_of("ortpackage", artifact), "cpu"))
    return {
        "variant_directory": artifact.variant,
        "ep": provider,
        "device": device,
        "executor_info": {"ort": {"model_file": artifact.main}},
        "additional_metadata": {"edgekit": _described(artifact)},
    }


def _described(artifact: Artifact) -> dict[str, object]:
    share = {} if artifact.macs is None else {"int8_mac_share": round(artifact.macs.share, 4)}
    return {"runtime": artifact.runtime, **share}


def _write_json(path: Path, value: Mapping[str, object]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2) + "\n", encoding="utf-8")
