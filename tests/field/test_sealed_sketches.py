"""Sketches of the calibration data: true to it, sealed in the bundle, and what drift is held against."""

from __future__ import annotations

import hashlib
import json
import math
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit._monitor.device.monitor import Monitor
from edgekit._monitor.device.sketch import Sketch, read_sketch
from edgekit.calibration.data_sketches import DataSketches
from edgekit.errors import BundleError, UsageError
from tests.converted import make_workspace, run
from tests.test_bundle_hostile import forge

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

SAMPLES = 120
SEALED = "calibration/model.sketches.json"


def draw_scenes(count: int, *, seed: int, light: float = 1.0) -> list[np.ndarray]:
    """Skewed images, each of its own brightness, so that the numbers of one depend on each other."""
    draw = np.random.default_rng(seed)
    return [
        (light * draw.uniform(0.8, 1.2) * draw.gamma(2.0, 0.5, (1, 3, 16, 16))).astype(np.float32)
        for _ in range(count)
    ]


def convert_scenes(folder: Path, **options: Any) -> Path:
    """The bundle of `m.onnx`, calibrated on scenes."""
    place = make_workspace(folder)
    for index, scene in enumerate(draw_scenes(SAMPLES, seed=1)):
        np.savez(place / "data" / f"{index}.npz", allow_pickle=False, x=scene)
    words: Any = {"precisions": "int8", "samples": place / "data", **options}
    result = edgekit.convert(
        place / "m.onnx", targets="ort-mobile", output=place / "out", cache="off", **words
    )
    return result.bundles[0].folder


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return convert_scenes(tmp_path_factory.mktemp("sealed"))


@pytest.fixture
def bundle(sealed: Path, tmp_path: Path) -> Path:
    """A copy to change."""
    shutil.copytree(sealed.parent.parent, tmp_path / "copy")
    return tmp_path / "copy" / "out" / sealed.name


def run_model(bundle: Path, scenes: list[np.ndarray]) -> list[np.ndarray]:
    session = ort.InferenceSession(bundle.parent.parent / "m.onnx", providers=["CPUExecutionProvider"])
    return [np.asarray(session.run(["y"], {"x": scene})[0]) for scene in scenes]


def watch(bundle: Path, path: Path, *, light: float = 1.0, seed: int = 2) -> Path:
    """The field file of a device that saw scenes which no one calibrated on."""
    scenes = draw_scenes(80, seed=seed, light=light)
    monitor = Monitor(edgekit.verify(bundle).digest, device=path.stem, share=1.0)
    for scene, result in zip(scenes, run_model(bundle, scenes), strict=True):
        monitor.observe({"x": scene}, {"y": result}, 0.01)
    monitor.write_json(str(path))
    return path


def worst_error(sketch: Sketch, values: np.ndarray) -> float:
    points = np.quantile(values, np.linspace(0.001, 0.999, 999), method="inverted_cdf")
    exact = np.searchsorted(np.sort(values), points, side="right") / values.size
    return float(np.abs(sketch.cdf(points) - exact).max())


def test_the_sealed_sketches_are_of_all_samples_and_of_what_onnx_runtime_gives(sealed: Path) -> None:
    row = json.loads((sealed / SEALED).read_text())
    scenes = draw_scenes(SAMPLES, seed=1)
    truth = {"inputs": {"x": scenes}, "outputs": {"y": run_model(sealed, scenes)}}
    assert (row["schema"], row["samples"]) == ("edgekit.sketches/1", SAMPLES)
    for side, tensors in truth.items():
        assert row[side].keys() == tensors.keys()
        for name, arrays in tensors.items():
            sketch, values = read_sketch(row[side][name]), np.concatenate(arrays, axis=None)
            assert sketch.count == values.size
            assert sketch.least == pytest.approx(values.min(), rel=1e-5)
            assert sketch.most == pytest.approx(values.max(), rel=1e-5)
            # Float sums in another order move a number that lies at a point to its other side.
            assert worst_error(sketch, values) <= sketch.rank_error(1e-5) + 1e-3
    assert (sealed / SEALED).stat().st_size < 6000 * 2


def test_of_large_tensors_some_numbers_stand_for_all() -> None:
    draw, sketches = np.random.default_rng(5), DataSketches()
    arrays = [draw.exponential(size=(3, 200, 200)) for _ in range(12)]
    for array in arrays:
        sketches.add({"x": array, "text": np.array(["a"])}, {})
    sketch = sketches.inputs["x"]
    assert list(sketches.inputs) == ["x"]
    chance = math.sqrt(math.log(2 / 1e-4) / 2 / sketch.count)  # Dvoretzky, Kiefer, Wolfowitz and Massart
    assert worst_error(sketch, np.concatenate(arrays, axis=None)) <= sketch.rank_error(1e-5) + chance < 0.03


def test_new_data_of_the_same_kind_are_no_drift(sealed: Path, tmp_path: Path) -> None:
    for seed in (2, 3, 4):
        watch(sealed, tmp_path / f"{seed}.json", seed=seed)
    result = edgekit.drift(sealed, tmp_path)
    assert [(one.tensor, one.status) for one in result.tensors] == [("x", "stable"), ("y", "stable")]
    assert result.baselines["model"].startswith(f"{SAMPLES} samples that it was made with")
    assert not result.notes


def test_what_int8_itself_does_to_an_output_is_known_from_the_proof(sealed: Path, tmp_path: Path) -> None:
    artifact = ort.InferenceSession(sealed / "model.int8.ort", providers=["CPUExecutionProvider"])
    first = sorted((sealed.parent.parent / "data").iterdir())[:4]
    golden = [np.load(path)["x"] for path in first]
    errors = [
        np.asarray(artifact.run(["y"], {"x": x})[0]) - y
        for x, y in zip(golden, run_model(sealed, golden), strict=True)
    ]
    result = edgekit.drift(sealed, watch(sealed, tmp_path / "a.json"))
    x, y = result.tensors
    assert x.rounding == 0
    assert y.rounding == pytest.approx(np.sqrt(np.mean(np.square(errors))), rel=0.02)
    assert "own error against fp32" in run("drift", sealed, tmp_path / "a.json").output


def test_a_shift_is_found_without_the_samples_at_hand(bundle: Path, tmp_path: Path) -> None:
    shutil.rmtree(bundle.parent.parent / "data")
    file = watch(bundle, tmp_path / "sunny.json", light=1.6)
    told = run("drift", bundle, file)
    assert told.exit_code == 1, told.output
    assert f"baseline of model: {SAMPLES} samples that it was made with" in told.output
    x = next(one for one in edgekit.drift(bundle, file).tensors if one.tensor == "x")
    before, now = (np.concatenate(draw_scenes(2000, seed=9, light=light), None) for light in (1.0, 1.6))
    assert x.status == "drift"
    assert x.distances is not None
    expected = np.abs(np.sort(before) - np.sort(now)).mean() / before.std()
    assert x.distances.wasserstein == pytest.approx(expected, rel=0.1)


def test_a_bundle_without_sketches_is_held_against_its_golden_data_and_says_so(
    bundle: Path, tmp_path: Path
) -> None:
    def forget(manifest: dict[str, Any]) -> None:
        del manifest["files"][manifest["components"][0].pop("sketches")]

    (bundle / SEALED).unlink()
    forge(bundle, forget)
    result = edgekit.drift(bundle, watch(bundle, tmp_path / "a.json"))
    assert result.baselines == {"model": "4 golden samples"}
    assert "no sketches of what it was made with" in result.notes[0]
    assert "--baseline DATA" in result.notes[0]


@pytest.mark.parametrize("options", [{"golden": "random"}, {"samples": "random"}, {"samples": None}])
def test_nothing_is_sketched_of_private_or_random_samples(tmp_path: Path, options: dict[str, Any]) -> None:
    precisions = "fp32" if options.get("samples", "") is None else "int8"
    bundle = convert_scenes(tmp_path, **options, precisions=precisions)
    assert not (bundle / SEALED).exists()
    with pytest.raises(UsageError, match="no sketches"):
        edgekit.drift(bundle, watch(bundle, tmp_path / "a.json"))


def _change(key: str, value: Any) -> Callable[[dict[str, Any]], None]:
    return lambda row: row.__setitem__(key, value)


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (_change("schema", "edgekit.sketches/2"), "it is no edgekit.sketches/1"),
        (_change("extra", 1), "it is no edgekit.sketches/1"),
        (_change("samples", 0), "samples"),
        (_change("samples", True), "samples"),
        (_change("inputs", []), "tensors that the component does not have"),
        (lambda row: row["outputs"].update(z=row["outputs"]["y"]), "tensors that the component does not"),
        (lambda row: row["inputs"]["x"].update(count=3), "do not add up"),
    ],
)
def test_sketches_that_edgekit_did_not_write_are_refused(
    bundle: Path, tmp_path: Path, change: Callable[[dict[str, Any]], None], told: str
) -> None:
    row = json.loads((bundle / SEALED).read_text())
    change(row)
    data = json.dumps(row).encode()
    (bundle / SEALED).write_bytes(data)
    fact = {"sha256": hashlib.sha256(data).hexdigest(), "size": len(data), "executable": False}
    forge(bundle, lambda manifest: manifest["files"].__setitem__(SEALED, fact))
    with pytest.raises(BundleError, match=told):
        edgekit.drift(bundle, watch(bundle, tmp_path / "a.json"))


def test_a_manifest_that_speaks_of_other_sketches_is_refused(bundle: Path) -> None:
    forge(bundle, lambda manifest: manifest["components"][0].__setitem__("sketches", "../data/0.npz"))
    with pytest.raises(BundleError, match="not among its files"):
        edgekit.verify(bundle)
