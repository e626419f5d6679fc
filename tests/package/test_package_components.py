"""Bundles of several components in the forms that hold one model, several, or a repository."""

from __future__ import annotations

import json
import tarfile
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit.errors import UsageError
from tests.converted import JETSON, run
from tests.test_components import make_set

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two components whose fp32 files share their weights, for Jetson."""
    place = make_set(tmp_path_factory.mktemp("components"))
    edgekit.convert(
        place / "set",
        targets="jetson-orin",
        precisions="fp32",
        samples=place / "data",
        shapes="rows=2",
        output=place / "out",
        cache="off",
    )
    return place


def predict(model: Path, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(str(model), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, feeds)[0])


@pytest.mark.parametrize("form", ["mlflow", "azureml", "sagemaker"])
def test_a_form_of_one_model_asks_for_the_component(place: Path, tmp_path: Path, form: str) -> None:
    done = run("package", place / "out" / JETSON, "--as", form, "-o", tmp_path / "made", "--name", "ocr")
    assert done.exit_code == 2
    assert "encode, step" in done.stderr
    assert "--component NAME" in done.stderr
    assert not (tmp_path / "made").exists()


def test_a_component_takes_along_the_weights_that_it_shares(place: Path, tmp_path: Path) -> None:
    bundle = place / "out" / JETSON
    edgekit.package(bundle, "mlflow", tmp_path / "step", component="step")
    assert not (tmp_path / "step" / "encode.fp32.onnx").exists()
    feeds = dict(np.load(place / "data" / "step" / "0.npz"))
    got = predict(tmp_path / "step" / "step.fp32.onnx", feeds)
    assert np.array_equal(got, predict(bundle / "step.fp32.onnx", feeds))


def test_a_multi_model_endpoint_gets_an_archive_a_component(place: Path, tmp_path: Path) -> None:
    bundle = place / "out" / JETSON
    made = edgekit.package(bundle, "sagemaker", tmp_path / "sm", name="ocr", container="multi")
    archives = sorted(path.name for path in (tmp_path / "sm" / "models").iterdir())
    assert archives == ["ocr-encode-fp32.tar.gz", "ocr-step-fp32.tar.gz"]
    assert all(name in " ".join(made.notes) for name in archives)
    feeds = dict(np.load(place / "data" / "encode" / "0.npz"))
    with tarfile.open(tmp_path / "sm" / "models" / archives[0]) as archive:
        archive.extractall(tmp_path / "model", filter="data")
    told = json.loads((tmp_path / "model" / "edgekit.json").read_text())
    assert [row["name"] for row in told["inputs"]] == ["x"]
    got = predict(tmp_path / "model" / told["file"], feeds)
    assert np.array_equal(got, predict(bundle / "encode.fp32.onnx", feeds))
    tags = {row["Key"] for row in json.loads((tmp_path / "sm" / "create-model.json").read_text())["Tags"]}
    assert "edgekit.bundle" in tags
    assert "edgekit.component" not in tags, "it would be true of one archive only"


def test_a_component_that_is_not_there_is_told(place: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no component 'decode'"):
        edgekit.package(place / "out" / JETSON, "triton", tmp_path / "made", component="decode")
