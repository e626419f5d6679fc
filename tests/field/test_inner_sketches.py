"""Sketches of inner values and of float converts: true to ONNX Runtime, fed by a device, judged by drift."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

import edgekit
from edgekit._bundle import read_artifacts
from edgekit._bundle.read import open_bundle
from edgekit._monitor.device.monitor import Monitor
from edgekit._monitor.device.sketch import read_sketch
from edgekit.errors import FieldError, UsageError
from tests.converted import make_workspace, run
from tests.field.test_sealed_sketches import SEALED, draw_scenes, worst_error

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = 40


def convert_scenes(folder: Path, *, target: str = "litert", **options: Any) -> Path:
    """The bundle of `m.onnx`, made with scenes."""
    place = make_workspace(folder)
    for path in (place / "data").iterdir():
        path.unlink()
    for index, scene in enumerate(draw_scenes(SAMPLES, seed=1)):
        np.savez(place / "data" / f"{index:02d}.npz", allow_pickle=False, x=scene)
    result = edgekit.convert(
        place / "m.onnx", targets=target, samples=place / "data", output=place / "out", cache="off", **options
    )
    return result.bundles[0].folder


def run_inner(bundle: Path, names: list[str], scenes: list[np.ndarray]) -> dict[str, list[np.ndarray]]:
    """What ONNX Runtime gives for tensors of the source model."""
    model = onnx.load(bundle.parent.parent / "m.onnx")
    model.graph.output.extend(
        helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in names
    )
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    rows = [session.run(names, {"x": scene}) for scene in scenes]
    return {name: [np.asarray(row[place]) for row in rows] for place, name in enumerate(names)}


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_scenes(tmp_path_factory.mktemp("inner"), precisions="int8", sketch=("s", "relu1"))


def watch(bundle: Path, file: Path, *, variant: str = "int8", light: float = 1.0) -> Path:
    """The field file of a device whose runtime gives the tensor `s`."""
    targets = edgekit.list_targets()
    with open_bundle(bundle) as opened:
        artifact = next(one for one in read_artifacts(opened) if one.variant == variant)
        session = targets[opened.target].open(artifact, opened.folder)
        monitor = Monitor(opened.digest, variant=variant, device=file.stem, share=1.0)
        for scene in draw_scenes(60, seed=7, light=light):
            found = session.run({"x": scene}, taps=("s",))
            monitor.observe({"x": scene}, {"y": found["y"]}, 0.01, inner={"s": found["s"]})
    monitor.write_json(str(file))
    return file


def statuses(bundle: Path, file: Path) -> dict[str, str]:
    return {f"{one.side} {one.tensor}": one.status for one in edgekit.drift(bundle, file).tensors}


@pytest.mark.parametrize(
    ("options", "inner"),
    [
        ({"precisions": "fp32"}, []),
        ({"precisions": "fp16"}, []),
        ({"precisions": "fp16", "sketch": "s"}, ["s"]),
        ({"precisions": "w8", "sketch": "logits"}, ["logits"]),
    ],
)
def test_float_converts_seal_what_onnx_runtime_gives(
    tmp_path: Path, options: dict[str, Any], inner: list[str]
) -> None:
    bundle = convert_scenes(tmp_path, **options)
    row = json.loads((bundle / SEALED).read_text())
    scenes = draw_scenes(SAMPLES, seed=1)
    truth = run_inner(bundle, [*inner, "y"], scenes) | {"x": scenes}
    assert row["samples"] == SAMPLES
    assert sorted(row.get("inner", {})) == inner
    for side, names in (("inputs", ["x"]), ("outputs", ["y"]), ("inner", inner)):
        for name in names:
            sketch, values = read_sketch(row[side][name]), np.concatenate(truth[name], axis=None)
            assert sketch.least == pytest.approx(values.min(), rel=1e-4, abs=1e-6)
            assert worst_error(sketch, values) <= sketch.rank_error(1e-5) + 0.02
    assert edgekit.verify(bundle).passed


def test_nodes_and_tensors_can_be_named_and_their_int8_error_is_told(sealed: Path) -> None:
    row = json.loads((sealed / SEALED).read_text())
    manifest = json.loads((sealed / "manifest.json").read_text())
    assert manifest["components"][0]["inner"] == ["s", "r1"]
    assert row["inner"].keys() == {"s", "r1"}
    scenes = draw_scenes(SAMPLES, seed=1)[:4]
    truth = run_inner(sealed, ["s"], scenes)["s"]
    with open_bundle(sealed) as opened:
        artifact = next(one for one in read_artifacts(opened) if one.variant == "int8")
        session = edgekit.list_targets()["litert"].open(artifact, opened.folder)
        found = [session.run({"x": scene}, taps=("s",))["s"] for scene in scenes]
    errors = [now - before for now, before in zip(found, truth, strict=True)]
    # The golden samples are the first ones; the file's integers differ from Q/DQ by a step here and there.
    assert row["rounding"]["int8"]["s"] == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.2)


def test_a_device_that_sees_the_same_scenes_is_stable_inside_too(sealed: Path, tmp_path: Path) -> None:
    found = statuses(sealed, watch(sealed, tmp_path / "gate.json"))
    assert found == {"input x": "stable", "output y": "stable", "inner s": "stable"}
    inner = next(one for one in edgekit.drift(sealed, tmp_path / "gate.json").tensors if one.side == "inner")
    assert inner.rounding > 0


def test_a_shift_inside_is_told_with_samples_of_ones_own_too(sealed: Path, tmp_path: Path) -> None:
    file = watch(sealed, tmp_path / "sunny.json", light=1.8)
    assert statuses(sealed, file)["inner s"] == "drift"
    told = run("drift", sealed, file, "--baseline", sealed.parent.parent / "data", "-o", tmp_path / "page")
    assert told.exit_code == 1
    assert "model inner s: drift" in told.output
    assert "inner of model" in (tmp_path / "page" / "drift.html").read_text()


def test_a_float_bundle_is_held_against_its_own_samples(tmp_path: Path) -> None:
    bundle = convert_scenes(tmp_path, precisions="fp32", sketch="s")
    file = watch(bundle, tmp_path / "gate.json", variant="fp32")
    result = edgekit.drift(bundle, file)
    assert result.baselines["model"].startswith(f"{SAMPLES} samples that it was made with")
    assert {one.status for one in result.tensors} == {"stable"}
    assert (
        statuses(bundle, watch(bundle, tmp_path / "b.json", variant="fp32", light=2.0))["inner s"] == "drift"
    )


@pytest.mark.parametrize(
    ("options", "told"),
    [
        ({"sketch": "conv9"}, "is no node and no tensor"),
        ({"sketch": "c1"}, "folded into its neighbours"),
        ({"sketch": "x"}, "input or output"),
        ({"sketch": "softmax"}, "input or output"),
        ({"sketch": "s", "golden": "random"}, "no samples that may be kept"),
        ({"sketch": "s", "samples": "random"}, "no samples that may be kept"),
    ],
)
def test_what_cannot_be_sketched_is_refused_before_anything_is_built(
    tmp_path: Path, options: dict[str, Any], told: str
) -> None:
    place = make_workspace(tmp_path)
    words: Any = {"samples": place / "data", "precisions": "int8", **options}
    with pytest.raises(UsageError, match=told):
        edgekit.convert(place / "m.onnx", targets="litert", output=place / "out", cache="off", **words)
    assert not (place / "out").exists()


def _loud_channels() -> onnx.ModelProto:
    """Conv, Relu, depthwise Conv: INT8 evens the Relu's channels out."""
    draw = np.random.default_rng(0)
    loud = np.array([1, 0.01] * 4)[:, None, None, None]
    weights = {"w1": draw.standard_normal((8, 3, 1, 1)) * loud, "w2": draw.standard_normal((8, 1, 3, 3))}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c"], "conv"),
        helper.make_node("Relu", ["c"], ["r"], "relu"),
        helper.make_node("Conv", ["r", "w2"], ["d"], "depthwise", group=8),
        helper.make_node("GlobalAveragePool", ["d"], ["y"], "average"),
    ]
    x = helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1, 3, 16, 16])
    y = helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1, 8, 1, 1])
    held = [numpy_helper.from_array(one.astype(np.float32), name) for name, one in weights.items()]
    graph = helper.make_graph(nodes, "loud", [x], [y], held)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)


def test_a_tensor_whose_channels_int8_evens_out_is_refused_there_alone(tmp_path: Path) -> None:
    place = make_workspace(tmp_path)
    (place / "m.onnx").write_bytes(_loud_channels().SerializeToString())
    words: Any = {"targets": "litert", "samples": place / "data", "cache": "off", "sketch": "relu"}
    with pytest.raises(UsageError, match="'r' has no counterpart in int8"):
        edgekit.convert(place / "m.onnx", precisions="int8", output=place / "out", **words)
    assert not (place / "out").exists()
    made = edgekit.convert(place / "m.onnx", precisions="fp32", output=place / "out", **words)
    row = json.loads((made.bundles[0].folder / SEALED).read_text())
    assert row["inner"]["r"]["least"] == 0


def test_the_recipe_and_the_command_line_name_inner_values_too(tmp_path: Path) -> None:
    place = make_workspace(tmp_path)
    recipe = place / "edgekit.toml"
    words = ("--target", "litert", "--samples", place / "data", "--precision", "fp32", "--sketch", "s")
    told = run(
        "convert", place / "m.onnx", *words, "-o", place / "out", "--save-recipe", recipe, "--no-cache"
    )
    assert told.exit_code == 0, told.output
    assert 'sketch = ["s"]' in recipe.read_text()
    (bundle,) = (place / "out").iterdir()
    assert json.loads((bundle / SEALED).read_text())["inner"].keys() == {"s"}


def _inner(change: Callable[[dict[str, Any]], None]) -> Callable[[dict[str, Any]], None]:
    return lambda row: change(row["inner"])


@pytest.mark.parametrize(
    "change",
    [
        _inner(lambda inner: inner.update(z=inner["s"])),
        _inner(lambda inner: inner["s"].update(count=3)),
    ],
)
def test_inner_values_that_the_bundle_did_not_sketch_are_refused(
    sealed: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None]
) -> None:
    file = watch(sealed, tmp_path / "gate.json")
    row = json.loads(file.read_text())
    change(row)
    file.write_text(json.dumps(row))
    with pytest.raises(FieldError, match=r"gate\.json"):
        edgekit.drift(sealed, file)


def test_a_monitor_that_is_given_nothing_from_inside_writes_what_it_always_wrote(sealed: Path) -> None:
    monitor = Monitor("ab" * 32, share=1.0)
    monitor.observe({"x": np.ones(3)}, {"y": np.ones(2)}, 0.01)
    assert "inner" not in monitor.to_json()
    monitor.observe({"x": np.ones(3)}, {"y": np.ones(2)}, 0.01, inner={"s": np.ones(4)})
    assert monitor.to_json()["inner"]["s"]["count"] == 4


@pytest.mark.parametrize(
    "rounding", [[], {"int8": 3}, {"int8": {"t": 1.0}}, {"int8": {"s": -1.0}}, {"int8": {"s": True}}]
)
def test_roundings_that_edgekit_did_not_write_are_refused(sealed: Path, rounding: Any) -> None:
    from edgekit.calibration.data_sketches import read_data_sketches

    row = json.loads((sealed / SEALED).read_text()) | {"rounding": rounding}
    with pytest.raises(ValueError, match="rounding"):
        read_data_sketches(row, {"inputs": ["x"], "outputs": ["y"], "inner": ["s", "r1"]})
