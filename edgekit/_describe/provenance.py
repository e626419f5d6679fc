"""Where a bundle comes from, as an in-toto statement with SLSA's provenance.

Source: in-toto attestation Statement v1, https://slsa.dev/provenance/v1.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit._bundle import Bundle

_BUILD_TYPE = "urn:edgekit:convert:1"


def provenance(bundle: Bundle) -> str:
    """As JSON text: every file with its digest, the source models and the tools; always the same bytes."""
    manifest = bundle.manifest
    subjects = [
        {"name": path, "digest": {"sha256": row["sha256"]}} for path, row in sorted(manifest["files"].items())
    ]
    sources: list[dict[str, Any]] = [
        {"name": f"source of {row['name']}", "digest": {"sha256": row["source_sha256"]}}
        for row in manifest["components"]
    ]
    sources += [
        {"name": f"calibration record of {row['name']}", "digest": {"sha256": row["calibration"]["digest"]}}
        for row in manifest["components"]
        if row["calibration"]
    ]
    device = manifest["device"]
    statement = {
        "_type": "https://in-toto.io/Statement/v1",
        "subject": subjects,
        "predicateType": "https://slsa.dev/provenance/v1",
        "predicate": {
            "buildDefinition": {
                "buildType": _BUILD_TYPE,
                "externalParameters": {
                    "target": bundle.target,
                    "device": device["name"],
                    "software": device["software"],
                    "scheme": manifest["scheme"] or "",
                    "variants": sorted({artifact.variant for artifact in bundle.artifacts}),
                },
                "internalParameters": {"bundle": bundle.digest},
                "resolvedDependencies": sources,
            },
            "runDetails": {
                "builder": {"id": _BUILD_TYPE, "version": dict(sorted(manifest["tools"].items()))},
            },
        },
    }
    return json.dumps(statement, indent=2, sort_keys=True) + "\n"
