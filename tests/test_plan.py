"""Plans and gaps before any work: variants, schemes, presets, and a dry run that writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from click.testing import CliRunner

from edgekit import api
from edgekit._plan import choose_precisions, choose_scheme
from edgekit._recipe import Recipe
from edgekit._schemes import NATIVE_U8
from edgekit.cli import main
from edgekit.errors import OutputError, SamplesError, SourceError, UsageError
from edgekit.target import Plan
from tests.models import toy_cnn

if TYPE_CHECKING:
    from pathlib import Path

PLAN = Plan(17, scheme=NATIVE_U8, default_float="fp16", baselines=("fp32", "fp16"))


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "toy.onnx"
    onnx.save(toy_cnn(), path)
    return path


def test_samples_mean_int8_with_the_targets_baselines() -> None:
    recipe = Recipe.of("m", samples="data")
    assert choose_precisions(recipe, PLAN) == (("int8", "fp32", "fp16"), "")


def test_no_samples_mean_the_targets_float_and_one_line_that_says_so() -> None:
    precisions, note = choose_precisions(Recipe.of("m"), PLAN)
    assert precisions == ("fp16",)
    assert note == "FP16: no samples were given; --samples DATA makes it INT8"


def test_precisions_that_are_asked_for_are_kept_in_their_order() -> None:
    recipe = Recipe.of("m", samples="data", precisions=["fp16", "int8"])
    assert choose_precisions(recipe, PLAN) == (("fp16", "int8", "fp32"), "")
    assert choose_precisions(Recipe.of("m", precisions="fp32"), PLAN) == (("fp32",), "")


def test_int8_without_samples_is_wrong_usage() -> None:
    with pytest.raises(UsageError, match="--samples"):
        choose_precisions(Recipe.of("m", precisions="int8"), PLAN)


@pytest.mark.parametrize(
    ("given", "name"), [("auto", "native-u8"), ("native", "native-u8"), ("portable",) * 2]
)
def test_a_scheme_is_the_targets_own_or_the_portable_one(given: str, name: str) -> None:
    assert choose_scheme(Recipe.of("m", scheme=given), PLAN) == name


def test_an_option_of_int8_is_refused_where_no_int8_is_made(model: Path) -> None:
    words = {"targets": "litert", "options": {"litert.activations": "int16x8"}}
    with pytest.raises(UsageError, match=r"litert\.activations is about the INT8.* only fp32 is made"):
        api.plan(model, **words)  # type: ignore[arg-type]
    assert api.plan(model, samples="random", **words).possible  # type: ignore[arg-type]


def test_one_device_asked_for_twice_is_refused(model: Path) -> None:
    with pytest.raises(UsageError, match="are both the device 'jetson-orin-nano-8gb'"):
        api.plan(model, targets=["jetson-orin", "jetson-orin-nano-8gb@jetpack-6.1"])


def test_a_dry_run_shows_every_bundle_and_writes_nothing(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    words = ["convert", str(model), "-t", "jetson-orin", "-t", "ort-mobile", "--dry-run"]
    shown = CliRunner().invoke(main, words)
    assert shown.exit_code == 0, shown.output
    assert "jetson-orin -> jetson-orin-nano-8gb (jetpack-6.2, tensorrt 10.3)" in shown.stdout
    assert "jetson-orin-nano-8gb: FP16: no samples were given" in shown.stdout
    assert "toy-edgekit/jetson-orin-nano-8gb" in shown.stdout
    assert [path.name for path in tmp_path.iterdir()] == ["toy.onnx"]


def test_a_dry_run_reads_a_sample_and_refuses_one_that_does_not_fit(model: Path, tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    np.savez(tmp_path / "data" / "a.npz", x=np.zeros((7, 7), np.float32))
    with pytest.raises(SamplesError):
        api.plan(model, targets="ort-mobile", samples=tmp_path / "data")


def test_a_name_that_the_terminals_encoding_has_not_is_escaped(model: Path) -> None:
    path = model.rename(model.with_name("名.onnx"))
    command = [sys.executable, "-c", "from edgekit.cli import main; main()", "inspect", str(path)]
    environment = {**os.environ, "PYTHONIOENCODING": "latin-1", "PYTHONUTF8": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, check=False)
    assert (done.returncode, done.stdout.isascii(), b"\\u540d.onnx" in done.stdout) == (0, True, True)


def test_check_needs_no_samples(model: Path) -> None:
    gaps = api.check(model, targets="ort-mobile")
    assert all(gap.rule and gap.way_out for gap in gaps)


def test_inspect_counts_what_a_hand_counts(tmp_path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    weight = numpy_helper.from_array(np.ones((4, 3, 3, 3), np.float32), "w")
    node = helper.make_node("Conv", ["x", "w"], ["y"], name="c\x1b[2J", pads=[1, 1, 1, 1])
    x = helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 3, 8, 8])
    y = helper.make_tensor_value_info("y", TensorProto.FLOAT, ["n", 4, 8, 8])
    graph = helper.make_graph([node], "g", [x], [y], [weight])
    path = tmp_path / "conv.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), path)

    fixed = api.inspect(path, "x=2,3,8,8")
    assert (fixed.macs, fixed.parameters, fixed.weight_bytes) == (2 * 4 * 8 * 8 * 27, 108, 432)
    assert fixed.peak_activation_bytes == 4 * (2 * 3 * 64 + 2 * 4 * 64)
    assert (fixed.opsets, dict(fixed.ops)) == ({"ai.onnx": 17}, {"Conv": 1})

    dynamic = api.inspect(path)
    assert (dynamic.macs, dynamic.peak_activation_bytes, dynamic.parameters) == (None, None, 108)
    assert "--shape x=?,3,8,8" in dynamic.notes[0]

    shown = CliRunner().invoke(main, ["inspect", str(path)])
    assert (shown.exit_code, "\x1b" in shown.stdout, "MACs unknown" in shown.stdout) == (0, False, True)
    answer = json.loads(CliRunner().invoke(main, ["inspect", str(path), "--json"]).stdout)
    assert answer["model"]["nodes"][0]["macs"] is None


@pytest.mark.parametrize("data", [b"", b"not a model", b"\x08\x07" * 1000])
def test_a_file_that_is_no_model_is_refused(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "m.onnx").write_bytes(data)
    with pytest.raises(SourceError):
        api.inspect(tmp_path / "m.onnx")


def test_calibrate_keeps_its_record_once_and_uses_the_cache(
    model: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    seen: list[str] = []

    def progress(stage: str, done: int, total: int | None) -> None:
        seen.append(stage)

    with pytest.warns(UserWarning, match="RANDOM"):
        first = api.calibrate(model, samples="random", output=tmp_path / "r.json", progress=progress)
    assert json.loads((tmp_path / "r.json").read_text())["samples_kind"] == "random"
    assert "calibrate" in seen
    seen.clear()
    with pytest.warns(UserWarning, match="RANDOM"):
        assert api.calibrate(model, samples="random", progress=progress) == first
    assert "calibrate" not in seen
    with pytest.warns(UserWarning, match="RANDOM"), pytest.raises(OutputError, match="--overwrite"):
        api.calibrate(model, samples="random", output=tmp_path / "r.json")


def test_calibrate_without_samples_is_wrong_usage(model: Path) -> None:
    with pytest.raises(UsageError, match="--samples"):
        api.calibrate(model)


def test_a_recipe_and_options_beside_it_are_refused() -> None:
    with pytest.raises(UsageError, match="put them into the Recipe"):
        api.plan(Recipe.of("m.onnx"), targets="a")


def test_check_looks_at_the_opset_that_convert_would_lower_to(tmp_path: Path) -> None:
    """TensorRT 8.6 reads opset 17; a model of opset 18 whose ops mean the same there has no gap."""
    proto = toy_cnn()
    proto.opset_import[0].version = 18
    path = tmp_path / "new.onnx"
    onnx.save(proto, path)
    gaps = api.check(path, targets="jetson-orin@jetpack-6.0")
    assert not [gap for gap in gaps if gap.severity == "error"]
    result = api.convert(path, targets="jetson-orin@jetpack-6.0", output=tmp_path / "out", cache="off")
    written = onnx.load(result.bundles[0].folder / result.bundles[0].artifacts[0].main)
    assert written.opset_import[0].version == 17
