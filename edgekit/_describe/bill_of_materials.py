"""A CycloneDX ML-BOM of a bundle: the model, its licence, data by digest, quantization, tools, quality.

Source: CycloneDX 1.6, https://cyclonedx.org/docs/1.6/json/ (component `machine-learning-model`, modelCard).
"""

from __future__ import annotations

import json
import uuid
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgekit._bundle import Bundle

    Json = dict[str, Any]
    Row = Mapping[str, Any]


def bill_of_materials(bundle: Bundle) -> str:
    """As JSON text; the same bundle gives the same bytes, so no time is in it."""
    manifest = bundle.manifest
    device = manifest["device"]
    document: Json = {
        "$schema": "http://cyclonedx.org/schema/bom-1.6.schema.json",
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": uuid.uuid5(uuid.NAMESPACE_OID, bundle.digest).urn,
        "version": 1,
        "metadata": {
            "tools": {
                "components": [{"type": "application", **_named(tool)} for tool in manifest["tools"].items()]
            },
            "component": {
                "type": "machine-learning-model",
                "bom-ref": f"bundle:{bundle.digest}",
                "name": f"{'-'.join(row['name'] for row in manifest['components'])} for {device['name']}",
                "version": bundle.digest[:12],
                "hashes": [{"alg": "SHA-256", "content": bundle.digest}],
                "properties": _properties(
                    target=bundle.target,
                    device=device["name"],
                    software=device["software"],
                    scheme=manifest["scheme"],
                ),
            },
        },
        "components": [
            *(_model(row, manifest) for row in manifest["components"]),
            *_files(manifest),
        ],
    }
    return json.dumps(document, indent=2, sort_keys=True) + "\n"


def _named(tool: tuple[str, str]) -> Json:
    return {"name": tool[0], "version": tool[1]}


def _model(row: Row, manifest: Row) -> Json:
    """The source model of one component, with what was measured of each of its variants."""
    licence = {"licenses": [{"license": {"name": row["licence"]}}]} if row["licence"] else {}
    return {
        "type": "machine-learning-model",
        "bom-ref": f"component:{row['name']}",
        "name": row["name"],
        "hashes": [{"alg": "SHA-256", "content": row["source_sha256"]}],
        **licence,
        "modelCard": {
            "modelParameters": {
                "datasets": list(_datasets(row)),
                "inputs": [{"format": _format(item)} for item in row["inputs"]],
                "outputs": [{"format": _format(item)} for item in row["outputs"]],
            },
            "quantitativeAnalysis": {
                "performanceMetrics": [
                    metric
                    for parity in manifest["parity"]
                    if parity["component"] == row["name"]
                    for metric in _metrics(parity)
                ]
            },
        },
    }


def _datasets(row: Row) -> Iterator[Json]:
    """The calibration data by the digest in their record; the golden data by what they are."""
    if row["calibration"]:
        yield {
            "type": "dataset",
            "name": "calibration",
            "description": f"calibration record {row['calibration']['digest']}",
        }
    golden = row["golden"]
    yield {"type": "dataset", "name": "golden", "description": f"{len(golden['samples'])} {golden['kind']}"}


def _metrics(parity: Row) -> Iterator[Json]:
    variant = parity["variant"]
    for output in parity["against_fp32"]:
        for name in ("sqnr_db", "cosine", "top1"):
            if output[name] is not None:
                yield _metric(f"{name} against fp32", output[name], f"{variant} {output['output']}")
    if parity["macs"] is not None:
        yield _metric("share of MACs in int8", round(parity["macs"]["share"], 4), variant)
    if parity["task"]:
        yield _metric(parity["task"]["metric"], parity["task"]["artifact"], variant)


def _metric(kind: str, value: object, part: str) -> Json:
    return {"type": kind, "value": str(value), "slice": part}


def _files(manifest: Row) -> Iterator[Json]:
    for path, row in sorted(manifest["files"].items()):
        yield {
            "type": "file",
            "bom-ref": f"file:{path}",
            "name": path,
            "hashes": [{"alg": "SHA-256", "content": row["sha256"]}],
        }


def _format(tensor: Row) -> str:
    return f"{tensor['name']}: {tensor['dtype']} {list(tensor['shape'])}"


def _properties(**values: str | None) -> list[Json]:
    return [{"name": f"edgekit:{name}", "value": value} for name, value in values.items() if value]
