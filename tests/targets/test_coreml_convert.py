from __future__ import annotations

import shutil
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

import edgekit
from edgekit.errors import GapError
from tests.models import toy_cnn
from tests.targets.litert_models import model_of

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(autouse=True)
def own_cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def save_samples(folder: Path) -> Path:
    folder.mkdir()
    for index, sample in enumerate(np.random.default_rng(2).standard_normal((6, 1, 3, 16, 16))):
        np.savez(folder / f"s{index}.npz", allow_pickle=False, x=sample.astype(np.float32))
    return folder


def test_convert_makes_a_proven_w8a8_bundle_that_verify_opens_again(tmp_path: Path) -> None:
    onnx.save(toy_cnn(), tmp_path / "toy.onnx")
    samples = save_samples(tmp_path / "samples")
    result = edgekit.convert(
        tmp_path / "toy.onnx",
        targets=["iphone"],
        samples=str(samples),
        output=tmp_path / "out",
        gate={"min_top1": 0.7},  # two of this toy's classes are a near tie, which float16 may turn
    )
    (bundle,) = result.bundles
    assert not [failure for parity in bundle.parities for failure in parity.gate_failures]
    assert (bundle.device.name, bundle.passed) == ("iphone-16-pro", True)
    assert [artifact.variant for artifact in bundle.artifacts] == ["int8", "fp16"]
    macs = bundle.artifacts[0].macs
    assert macs is not None
    assert macs.share > 0.9
    for parity in bundle.parities:
        assert (parity.status, parity.runs_equal) == ("proven", True)
        assert "Apple's compiler and hardware have not seen it" in parity.reason
    assert bundle.parities[0].against_reference[0].sqnr_db > 25
    assert (bundle.folder / "mac" / "job.json").is_file()
    shutil.move(bundle.folder, tmp_path / "elsewhere")
    again = edgekit.verify(tmp_path / "elsewhere", gate={"min_top1": 0.7})
    assert [parity.failed for parity in again.parities] == [False, False]


def test_convert_writes_nothing_where_a_node_has_no_form(tmp_path: Path) -> None:
    model = model_of([onnx.helper.make_node("Det", ["x"], ["y"])], {"x": [3, 3]}, {})
    onnx.save(model, tmp_path / "det.onnx")
    with pytest.raises(GapError, match="no form there"):
        edgekit.convert(tmp_path / "det.onnx", targets=["coreml"], output=tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.mlpackage"))


@pytest.mark.parametrize(
    ("target", "op", "words"),
    [("coreml", "Det", "Det"), ("coreml@ios-16", "Neg", "needs iOS 17 / macOS 14")],
)
def test_int8_is_refused_before_anything_is_calibrated(
    target: str, op: str, words: str, tmp_path: Path
) -> None:
    model = model_of([onnx.helper.make_node(op, ["x"], ["y"])], {"x": [3, 3]}, {})
    onnx.save(model, tmp_path / "one.onnx")
    stages = list[str]()
    with pytest.raises(GapError, match=words):
        edgekit.convert(
            tmp_path / "one.onnx",
            targets=[target],
            samples="random",
            output=tmp_path / "out",
            progress=lambda stage, *_: stages.append(stage),
        )
    assert "prepare graph" in stages
    assert "calibrate" not in stages


@pytest.mark.parametrize(
    ("precision", "target", "words"),
    [("w4", "coreml@ios-17", "iOS 18 / macOS 15"), ("w8", "coreml@ios-15", "iOS 16 / macOS 13 for w8")],
)
def test_integer_weights_name_the_deployment_target_they_need(
    precision: str, target: str, words: str, tmp_path: Path
) -> None:
    onnx.save(toy_cnn(), tmp_path / "toy.onnx")
    with pytest.raises(GapError, match=words):
        edgekit.convert(
            tmp_path / "toy.onnx", targets=[target], precisions=precision, output=tmp_path / "out"
        )
