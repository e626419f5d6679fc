"""Ahead-of-time compilation: its absence is this host's own, its words come from LiteRT's statistics."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from ai_edge_litert.aot.core.aot_types import SubgraphPartitionStats
from ai_edge_litert.aot.vendors.qualcomm.target import SocModel

from edgekit.errors import MissingToolError, TargetError, UsageError
from edgekit.targets.litert.compile_npu import (
    Chip,
    compile_ahead,
    find_chip,
    partition_placements,
    partition_words,
)
from tests.converted import run
from tests.models import toy_cnn
from tests.targets.litert_models import TARGET, build, job, prepared

if TYPE_CHECKING:
    from pathlib import Path

QUALCOMM = Chip(
    "SM8650", "qualcomm", "Qualcomm", "ai_edge_litert_sdk_qualcomm", "ai-edge-litert-sdk-qualcomm"
)


@pytest.mark.parametrize(
    ("chip", "package"),
    [("SM8650", "sdk-qualcomm"), ("Tensor_G5", "sdk-google-tensor"), ("MT6991", "sdk-mediatek")],
)
def test_a_missing_sdk_is_asked_for_before_any_work(chip: str, package: str) -> None:
    with pytest.raises(
        MissingToolError, match=f"{chip} is compiled for with .* not installed; pip install .*{package}"
    ):
        TARGET.plan([], replace(job(), options={"aot": chip}))


def test_convert_without_the_sdk_says_what_to_install_and_writes_nothing(tmp_path: Path) -> None:
    (tmp_path / "m.onnx").write_bytes(toy_cnn().SerializeToString())
    words = ("convert", tmp_path / "m.onnx", "-t", "litert", "--option", "litert.aot=SM8650", "--no-cache")
    result = run(*words, "-o", tmp_path / "out")
    assert result.exit_code == 1
    assert "pip install ai-edge-litert-sdk-qualcomm" in result.output
    assert not (tmp_path / "out").exists()


def test_an_unknown_chip_is_wrong_usage_and_the_nearest_is_named() -> None:
    with pytest.raises(
        UsageError, match=r"'SM865', which LiteRT does not compile for; did you mean 'SM8650'"
    ):
        find_chip("SM865")


def test_the_chip_is_litert_s_own() -> None:
    assert QUALCOMM.target().soc_model == SocModel.SM8650


def test_a_compiler_that_fails_is_told_with_its_file_and_chip(tmp_path: Path) -> None:
    # The real compiler, without the SDK's libraries that it loads.
    artifact = build(prepared(toy_cnn()), tmp_path)
    with pytest.raises(
        TargetError, match=r"Qualcomm's compiler does not compile model\.fp32\.tflite for SM8650"
    ):
        compile_ahead(tmp_path / artifact.main, QUALCOMM)


def test_partitions_are_told_in_words() -> None:
    stats = [SubgraphPartitionStats(0, 40, 42, 2), SubgraphPartitionStats(1, 3, 3, 1)]
    words = partition_words("SM8650", stats)
    assert words == (
        "compiled ahead of time for SM8650: 43 of 45 operators go to the NPU, in 3 partitions; never run here"
    )
    assert "told no partitions" in partition_words("SM8650", [])
    placed = [(row.unit, row.ops, row.fallback) for row in partition_placements("SM8650", stats)]
    assert placed == [("NPU of SM8650", 43, False), ("CPU or GPU beside SM8650", 2, True)]
    assert partition_placements("SM8650", []) == ()
