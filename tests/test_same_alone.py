"""A target's artifacts are the same bytes whether it is converted alone or behind others."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import edgekit
from tests.converted import JETSON, make_workspace

if TYPE_CHECKING:
    from pathlib import Path

TARGETS = ("ort-mobile", "litert", JETSON, "coreml")


def test_targets_that_share_one_record_leave_each_others_graphs_alone(tmp_path: Path) -> None:
    place = make_workspace(tmp_path)
    together = artifacts(place, "together", *TARGETS)
    assert len(together) > len(TARGETS)
    alone = {name: digest for target in TARGETS for name, digest in artifacts(place, target, target).items()}
    assert together == alone


def artifacts(place: Path, output: str, *targets: str) -> dict[str, str]:
    """SHA-256 of every artifact's files by device and path."""
    result = edgekit.convert(
        place / "m.onnx",
        targets=targets,
        samples=place / "data",
        output=place / output,
        cache="off",
    )
    return {
        f"{bundle.folder.name}/{file.relative_to(bundle.folder)}": hashlib.sha256(
            file.read_bytes()
        ).hexdigest()
        for bundle in result.bundles
        for artifact in bundle.folder.glob("model.*")
        for file in (artifact, *artifact.rglob("*"))
        if file.is_file()
    }
