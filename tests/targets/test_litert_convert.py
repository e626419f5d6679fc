from __future__ import annotations

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


def save_samples(folder: Path, shape: tuple[int, ...]) -> Path:
    rng = np.random.default_rng(2)
    folder.mkdir()
    for index in range(6):
        np.savez(folder / f"s{index}.npz", x=rng.standard_normal(shape).astype(np.float32))
    return folder


def test_convert_makes_a_proven_int8_bundle_with_its_baseline(tmp_path: Path) -> None:
    model = toy_cnn()
    onnx.save(model, tmp_path / "toy.onnx")
    shape = tuple(dim.dim_value for dim in model.graph.input[0].type.tensor_type.shape.dim)
    samples = save_samples(tmp_path / "samples", shape)
    result = edgekit.convert(
        tmp_path / "toy.onnx", targets=["android"], samples=str(samples), output=tmp_path / "out"
    )
    (bundle,) = result.bundles
    assert (bundle.device.name, bundle.passed) == ("generic-litert", True)
    assert [artifact.variant for artifact in bundle.artifacts] == ["int8", "fp32"]
    macs = bundle.artifacts[0].macs
    assert macs is not None
    assert macs.share > 0.9
    for parity in bundle.parities:
        assert (parity.status, parity.runs_equal) == ("proven", True)
    exact = bundle.parities[1].against_fp32[0]
    assert exact.sqnr_db > 80
    assert bundle.parities[0].against_reference[0].sqnr_db > 25
    assert (bundle.folder / "android" / "EdgekitModel.kt").is_file()


def test_convert_writes_nothing_where_a_node_has_no_form(tmp_path: Path) -> None:
    model = model_of([onnx.helper.make_node("Det", ["x"], ["y"])], {"x": [9, 9]}, {})
    onnx.save(model, tmp_path / "det.onnx")
    with pytest.raises(GapError, match="beyond what edgekit writes out"):
        edgekit.convert(tmp_path / "det.onnx", targets=["litert"], output=tmp_path / "out")
    assert not list(tmp_path.glob("out/**/*.tflite"))
    assert not list(tmp_path.glob("out/**/manifest.json"))
