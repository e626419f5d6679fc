"""Inner values from ONNX Runtime: a second file beside the .ort that gives them as outputs."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit._bundle import read_artifacts
from edgekit._bundle.read import open_bundle
from edgekit.errors import BundleError
from tests.field.test_inner_sketches import convert_scenes, run_inner, statuses, watch
from tests.field.test_sealed_sketches import SEALED, draw_scenes

VARIANTS = ("int8", "fp32")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inner")
    return convert_scenes(folder, target="ort-mobile", precisions="int8", sketch=("s", "relu1"))


def load(path: Path) -> ort.InferenceSession:
    """As a device does, which optimizes nothing any more."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.add_session_config_entry("session.load_model_format", "ORT")
    return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])


def operators(path: Path, tmp_path: Path) -> Counter[str]:
    """The operators that onnxruntime itself says it ran."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / path.name)
    session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    session.run(None, {"x": draw_scenes(1, seed=1)[0]})
    rows = json.loads(Path(session.end_profiling()).read_text())
    return Counter(row["args"]["op_name"] for row in rows if row["name"].endswith("_kernel_time"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_file_gives_the_same_outputs_and_inner_values_as_far_off_as_told(
    sealed: Path, variant: str
) -> None:
    scenes = draw_scenes(4, seed=1)  # the golden samples are the first ones
    main, inner = load(sealed / f"model.{variant}.ort"), load(sealed / f"model.{variant}.inner.ort")
    assert [value.name for value in main.get_outputs()] == ["y"]
    assert sorted(value.name for value in inner.get_outputs()) == ["r1", "s", "y"]
    truth = run_inner(sealed, ["s", "r1"], scenes)
    told = json.loads((sealed / SEALED).read_text())["rounding"].get(variant, {"s": 1e-6, "r1": 1e-6})
    for name in ("s", "r1"):
        found = [inner.run([name], {"x": scene})[0] for scene in scenes]
        errors = np.asarray(found) - np.asarray(truth[name])
        assert np.sqrt(np.mean(errors**2)) <= 1.2 * told[name]
    for scene in scenes:
        mine, theirs = (np.asarray(one.run(["y"], {"x": scene})[0]) for one in (main, inner))
        assert np.array_equal(mine, theirs)


def test_what_ran_as_integers_still_does(sealed: Path, tmp_path: Path) -> None:
    main = operators(sealed / "model.int8.ort", tmp_path)
    inner = operators(sealed / "model.int8.inner.ort", tmp_path)
    assert main["QLinearConv"] > 0
    assert not main - inner
    # One more reading for each of the two, and back from the kernels' own layout.
    assert set(inner - main) <= {"DequantizeLinear", "Transpose"}


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_device_is_held_against_the_bundle_inside_too(sealed: Path, tmp_path: Path, variant: str) -> None:
    assert set(statuses(sealed, watch(sealed, tmp_path / "a.json", variant=variant)).values()) == {"stable"}
    sunny = watch(sealed, tmp_path / "b.json", variant=variant, light=1.8)
    assert statuses(sealed, sunny)["inner s"] == "drift"


def test_the_second_file_is_proven_and_is_none_that_an_application_loads(sealed: Path) -> None:
    assert edgekit.verify(sealed).passed
    with open_bundle(sealed) as opened:
        for artifact in read_artifacts(opened):
            assert artifact.loaded == (f"model.{artifact.variant}.ort",)
            assert f"model.{artifact.variant}.inner.ort" in artifact.files
    file = sealed / "model.int8.inner.ort"
    kept = file.read_bytes()
    try:
        file.write_bytes((sealed / "model.fp32.inner.ort").read_bytes())
        with pytest.raises(BundleError):
            edgekit.verify(sealed)
    finally:
        file.write_bytes(kept)


def test_a_reduced_build_holds_its_operators_too(sealed: Path, tmp_path: Path) -> None:
    rows = (sealed / "model.int8.required_operators.config").read_text().splitlines()
    # "domain;opset;operator,operator": a line for each opset that the nodes are of.
    listed = {name for row in rows if row.startswith("ai.onnx;") for name in row.split(";")[2].split(",")}
    ran = operators(sealed / "model.int8.inner.ort", tmp_path)
    assert {"DequantizeLinear", "QuantizeLinear", "Transpose"} & set(ran) <= listed
    assert "DequantizeLinear" in ran


def test_without_a_sketch_there_is_no_second_file(tmp_path: Path) -> None:
    bundle = convert_scenes(tmp_path, target="ort-mobile", precisions="int8")
    assert not list(bundle.glob("*.inner.ort"))


@pytest.mark.parametrize("precision", ["w8", "w4"])
def test_integer_weights_leave_inner_values_as_they_are_made(tmp_path: Path, precision: str) -> None:
    bundle = convert_scenes(tmp_path, target="ort-mobile", precisions=precision, sketch="logits")
    told = json.loads((bundle / SEALED).read_text())["rounding"][precision]["logits"]
    scenes = draw_scenes(4, seed=1)
    truth = run_inner(bundle, ["logits"], scenes)["logits"]
    inner = load(bundle / f"model.{precision}.inner.ort")
    errors = np.asarray([inner.run(["logits"], {"x": scene})[0] for scene in scenes]) - np.asarray(truth)
    assert np.sqrt(np.mean(errors**2)) == pytest.approx(told, rel=0.2, abs=1e-6)
