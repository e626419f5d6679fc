"""Where the INT8 artifacts of a convert lie, as the jobs of benchmarks pass them on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from edgekit._results import ConvertResult


def list_int8_files(result: ConvertResult) -> dict[str, dict[str, Any]]:
    """The INT8 artifact of each bundle by what was asked for: its file, edgekit's share of MACs, the gate."""
    return {
        bundle.requested: {
            "file": str(bundle.folder / artifact.main),
            "own_share": artifact.macs.share,
            "passed": bundle.passed,
        }
        for bundle in result.bundles
        for artifact in bundle.artifacts
        if artifact.variant == "int8" and artifact.macs
    }
