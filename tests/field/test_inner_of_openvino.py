"""Inner values from OpenVINO: its own API gives them by the source's names, as far off as the bundle says."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit._bundle.read import open_bundle
from edgekit._monitor.device.monitor import Monitor
from tests.field.test_inner_sketches import convert_scenes, run_inner, statuses
from tests.field.test_sealed_sketches import SEALED, draw_scenes

if TYPE_CHECKING:
    from pathlib import Path

openvino = pytest.importorskip("openvino")


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inner")
    return convert_scenes(folder, target="openvino", precisions="int8", sketch=("s", "relu1"))


def compile_with(file: Path, *inner: str) -> Any:
    """As the page tells a device."""
    core = openvino.Core()
    model = core.read_model(str(file))
    for name in inner:
        model.add_outputs(name)
    return core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})


@pytest.mark.parametrize("variant", ["int8", "fp32"])
def test_inner_values_are_as_far_off_as_told_and_outputs_stay(sealed: Path, variant: str) -> None:
    scenes = draw_scenes(4, seed=1)  # the golden samples are the first ones
    file = sealed / f"model.{variant}.xml"
    plain, tapped = compile_with(file), compile_with(file, "s", "r1")
    truth = run_inner(sealed, ["s", "r1"], scenes)
    told = json.loads((sealed / SEALED).read_text())["rounding"].get(variant, {"s": 1e-6, "r1": 1e-6})
    for name in ("s", "r1"):
        errors = np.asarray([tapped({"x": scene})[name] for scene in scenes]) - np.asarray(truth[name])
        assert np.sqrt(np.mean(errors**2)) <= 1.2 * told[name]
    for scene in scenes:
        assert np.array_equal(plain({"x": scene})["y"], tapped({"x": scene})["y"])


@pytest.mark.parametrize(("light", "status"), [(1.0, "stable"), (1.8, "drift")])
def test_a_device_is_held_against_the_bundle_inside_too(
    sealed: Path, tmp_path: Path, light: float, status: str
) -> None:
    model = compile_with(sealed / "model.int8.xml", "s")
    with open_bundle(sealed) as opened:
        monitor = Monitor(opened.digest, variant="int8", device="gate", share=1.0)
    for scene in draw_scenes(60, seed=7, light=light):
        found = model({"x": scene})
        monitor.observe({"x": scene}, {"y": found["y"]}, 0.01, inner={"s": found["s"]})
    monitor.write_json(str(tmp_path / "gate.json"))
    assert statuses(sealed, tmp_path / "gate.json")["inner s"] == status
