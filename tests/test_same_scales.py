"""Under the portable scheme every target has the same numbers, from the one calibration record."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import edgekit
from tests.converted import JETSON, ORT, make_workspace

if TYPE_CHECKING:
    from pathlib import Path


def test_the_scales_of_four_toolchains_are_equal_wherever_all_have_the_tensor(tmp_path: Path) -> None:
    work = make_workspace(tmp_path)
    edgekit.convert(
        work / "m.onnx",
        targets=["jetson-orin", "ort-mobile", "litert", "coreml"],
        samples=work / "data",
        scheme="portable",
        output=work / "out",
        cache="off",
    )
    tables = [
        json.loads((work / "out" / device / "scales.json").read_text())
        for device in (JETSON, ORT, "generic-litert", "generic-coreml")
    ]
    assert len({table["record"] for table in tables}) == 1
    common = set.intersection(*(set(table["tensors"]) for table in tables))
    assert len(common) >= 4
    for tensor in common:
        first, *others = [table["tensors"][tensor] for table in tables]
        assert all(other == first for other in others), tensor
        assert first["zero_point"] == 0
