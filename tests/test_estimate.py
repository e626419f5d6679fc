"""Counted work, predictions and `edgekit estimate`, against figures computed by hand."""

from __future__ import annotations

import math
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._latency import Question
from edgekit._likeness import describe, pull_towards
from edgekit._predict import predict
from edgekit._results import Measurement
from edgekit._values import Device, Figure
from edgekit._work import Work, count_work
from edgekit._work_terms import TERMS
from edgekit.errors import TargetError, UsageError
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.profiles.read_fits import Likeness, SiblingFit, make_fit
from edgekit.reports.estimate_report import render_estimate

FITS = Path(edgekit.__file__).parent / "profiles" / "fits"

WORK = Work(4_000_000_000, 0, 0, 0, weights=1_000_000, activations=500, layers=2, peak_activations=400)
FIT: dict[str, object] = {
    "low": 1.0,
    "scale": 2.0,
    "high": 3.0,
    "points": 9,
    "error": 0.1,
    "coverage": 0.8,
    "width": 3.0,
}
FIT |= {"source": "a table", "fitted": "2026-11-23"}


def _model(batch: int | str = 1) -> onnx.ModelProto:
    """Dense 3->4, depthwise 4, grouped 4->4 by 2 (all 3x3 on 8x8), then a product of two computed values."""
    weights = {"w0": (4, 3, 3, 3), "w1": (4, 1, 3, 3), "w2": (4, 2, 3, 3)}
    nodes = [
        helper.make_node("Conv", [source, weight], [out], pads=[1] * 4, group=group)
        for source, weight, out, group in (("x", "w0", "a", 1), ("a", "w1", "b", 4), ("b", "w2", "c", 2))
    ]
    nodes.append(helper.make_node("MatMul", ["c", "c"], ["y"]))
    stored = [
        helper.make_tensor(name, TensorProto.FLOAT, dims, [0.5] * math.prod(dims))
        for name, dims in weights.items()
    ]
    made = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [batch, 4, 8, 8])],
        stored,
    )
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def _save(folder: Path, batch: int | str = 1) -> Path:
    path = folder / "m.onnx"
    onnx.save(_model(batch), path)
    return path


def _device(name: str = "board", toolchain: str = "litert", **figures: float) -> Device:
    known = {key: Figure(value, "", "a source", "seen") for key, value in figures.items()}
    return Device(name, name, toolchain, "one", {"one": {"source": "a source"}}, figures=known)


def test_macs_are_split_by_kind() -> None:
    model = ir.from_proto(_model())
    infer_shapes(model)
    work = count_work(model)
    assert work is not None
    # 8*8*4 outputs; 3*9, 1*9 and 2*9 products each; MatMul 4 * 8*8*8.
    assert (work.dense, work.depthwise, work.grouped, work.attention) == (6912, 2304, 4608, 2048)
    assert (work.macs, work.layers, work.weights, work.activations) == (15872, 4, 216, 1024)
    assert (work.weight_bytes("int8"), work.weight_bytes("fp16")) == (216, 432)
    assert work.activation_bytes("fp16") == 4096  # written once and read once
    assert (work.peak_activations, work.peak_bytes("int8")) == (2048, 512)


def test_the_terms_of_a_fit_are_counted_by_hand() -> None:
    model = ir.from_proto(_model())
    infer_shapes(model)
    work = count_work(model)
    assert work is not None
    # Per output 3*9 = 27 and 1*9 products, rounded up to blocks of 32 by 32; the dense conv has 64 places.
    assert work.terms["padded"] == pytest.approx(64 * 32 * 32 / 1e9)
    assert work.terms["dense"] == pytest.approx(6912 / 1e9)
    assert work.terms["in_out"] == pytest.approx((3 * 64 + 4 * 64) / 1e6)
    assert (work.terms["layers"], work.terms["launch"], work.terms["elementwise"]) == (4, 1, 0)
    # Three convolutions read maps of up to four channels, 8 x 8 places each.
    assert work.terms["pixels"] == pytest.approx(3 * 64 / 1e6)
    # All move much for what they compute: (192 + 256) / 2 and three times (256 + 256) / 2; MatMul reads both.
    assert work.terms["moved_shallow"] == pytest.approx((224 + 256 + 256 + 384) / 1e6)


def _ask(device: Device, precision: str = "int8", **words: Any) -> dict[str, Measurement]:
    given = {
        name: Measurement("latency", ms, "ms", "measured", "measured: given by the user")
        for name, ms in words.pop("measured", {}).items()
    }
    found = predict(Question(words.pop("work", WORK), precision, measured=given, **words), device)
    return {row.metric: row for row in found}


def test_the_spec_band_is_a_multiple_of_the_roofline() -> None:
    # 8e9 operations at 2e12 a second: 4 ms; 1.002 MB at 1e12 B/s is less.
    rows = _ask(_device(int8_dense=2, dram_bandwidth=1000, power_limit=15, memory=8, memory_reserved=3))
    latency, memory, power = rows["latency"], rows["memory"], rows["power"]
    assert latency.kind == "predicted"
    assert latency.basis.startswith("spec:")
    assert latency.value == pytest.approx(10.0)
    assert latency.interval == pytest.approx((4.0, 30.0))
    own = tomllib.loads((Path(edgekit.__file__).parent / "profiles" / "runtimes.toml").read_text())["litert"]
    assert memory.value == pytest.approx(1_000_100 + 1e6 * own["typical"])
    assert memory.interval == pytest.approx((1e6 + 1e6 * own["least"], 1_000_200 + 1e6 * own["most"]))
    assert "5 GB are left by the system" in memory.basis
    assert (power.value, power.interval) == (15, (0.0, 15))
    assert (rows["energy"].kind, rows["energy"].value) == ("unknown", None)


def test_energy_and_heat_follow_from_latency_and_the_board() -> None:
    rows = _ask(
        _device(
            int8_dense=2, dram_bandwidth=1000, power_load=5, power_idle=2, power_limit=8, sustained_share=50
        )
    )
    assert rows["energy"].value == pytest.approx(10.0 * 5)  # ms times W is mJ
    assert rows["energy"].interval == pytest.approx((4.0 * 2, 30.0 * 8))
    assert rows["sustained_latency"].value == pytest.approx(20.0)
    assert rows["sustained_latency"].interval == pytest.approx((4.0, 60.0))


def test_a_gpu_of_a_known_design_is_predicted_by_its_peak_and_bandwidth() -> None:
    rows = tomllib.loads((FITS / "capability.toml").read_text())["fit"]
    fit = next(row for row in rows if row["precision"] == "fp16")
    board = replace(
        _device("board", "tensorrt", fp16_dense=10, dram_bandwidth=50), facts={"compute_capability": "8.7"}
    )
    latency = _ask(board, "fp16")["latency"]
    # Two layers at so many MB each, and 8e9 operations at a share of 10e12 a second.
    ms = 2 * fit["layer_mb"] / 50 + 0.8 / fit["share"]
    assert latency.value == pytest.approx(ms)
    assert latency.interval == pytest.approx((ms * fit["low"], ms * fit["high"]))
    assert latency.basis.startswith("family-fit: GPUs of compute capability 8.7")
    assert _ask(board, "fp16", runtime="onnxruntime")["latency"].basis.startswith("spec:")


def test_a_device_without_a_published_peak_is_unknown_and_says_so() -> None:
    rows = _ask(_device(dram_bandwidth=10))
    assert (rows["latency"].kind, rows["latency"].value, rows["power"].kind) == ("unknown", None, "unknown")
    assert "int8 peak" in rows["latency"].basis


def _fit_row(device: str, runtime: str, precision: str) -> dict[str, Any]:
    """A row as it stands in the file, found without the code under test."""
    name = "jetson" if runtime == "tensorrt" else "qualcomm"
    table = tomllib.loads((FITS / f"{name}.toml").read_text())
    place = (device, runtime, precision)
    return next(row for row in table["fit"] if (row["device"], row["runtime"], row["precision"]) == place)


def test_a_family_fit_is_the_sum_of_its_terms() -> None:
    row = _fit_row("jetson-agx-orin-64gb", "tensorrt", "int8")
    terms = dict.fromkeys(TERMS, 0.0) | {"layers": 88.0, "dense": 3.25, "launch": 1.0}
    work = replace(WORK, dense=3_250_000_000, terms=terms)
    latency = _ask(_device("jetson-agx-orin-64gb", "tensorrt"), work=work)["latency"]
    expected = sum(terms[name] * ms for name, ms in row["ms"].items())
    assert latency.value == pytest.approx(expected)
    assert latency.interval == pytest.approx((expected * row["low"], expected * row["high"]))
    assert latency.basis.startswith("family-fit:")


def test_a_model_far_beyond_the_fitted_sizes_gets_a_wider_band_that_says_why() -> None:
    row = _fit_row("jetson-agx-orin-64gb", "tensorrt", "int8")
    work = replace(WORK, dense=10**15, terms=dict.fromkeys(TERMS, 0.0) | {"dense": 1e6})
    latency = _ask(_device("jetson-agx-orin-64gb", "tensorrt"), work=work)["latency"]
    assert latency.value is not None
    assert latency.interval is not None
    assert latency.interval[1] == pytest.approx(latency.value * row["high"] * 2)
    assert "outside its sizes" in latency.basis


def test_models_that_resemble_a_fitted_one_are_off_by_its_share() -> None:
    terms = dict.fromkeys(TERMS, 1.0)
    at = tuple(value - 0.0 for value in describe(terms))
    fit = Likeness((0.0,) * 9, (1.0,) * 9, 2.0, ((at, math.log(1.5)),))
    assert pull_towards(terms, fit) == pytest.approx(1.5)
    assert pull_towards(terms | {"dense": 1e9, "moved_deep": 1e9}, fit) == pytest.approx(1.0, abs=1e-6)


def test_a_measurement_wins_and_carries_over_to_a_sibling() -> None:
    measured = {"galaxy-s24": 4.0}
    work = replace(WORK, terms=dict.fromkeys(TERMS, 0.5) | {"launch": 1.0})
    there = _ask(_device("galaxy-s24", int8_dense=2, dram_bandwidth=9), measured=measured, work=work)
    assert (there["latency"].kind, there["latency"].value) == ("measured", 4.0)
    rows = tomllib.loads((FITS / "siblings.toml").read_text())["fit"]
    row = next(
        r for r in rows if (r["from"], r["to"], r["precision"]) == ("galaxy-s24", "galaxy-s25", "int8")
    )
    ours, theirs = (_fit_row(name, "litert", "int8")["ms"] for name in ("galaxy-s25", "galaxy-s24"))
    ratio = sum(work.terms[t] * ms for t, ms in ours.items()) / sum(
        work.terms[t] * ms for t, ms in theirs.items()
    )
    sibling = _ask(_device("galaxy-s25"), measured=measured, work=work)["latency"]
    assert (sibling.kind, sibling.basis[:8]) == ("predicted", "sibling:")
    assert sibling.value == pytest.approx(4.0 * row["scale"] * ratio)
    assert sibling.interval == pytest.approx((sibling.value * row["low"], sibling.value * row["high"]))


def test_a_sibling_that_has_no_fit_under_the_runtime_says_nothing() -> None:
    """A pair's scale is of what the ratio of two fits leaves: alone it would be no prediction."""
    work = replace(WORK, terms=dict.fromkeys(TERMS, 0.5) | {"launch": 1.0})
    pairs = tomllib.loads((FITS / "siblings.toml").read_text())["fit"]
    assert ("snapdragon-x-elite", "galaxy-s25", "fp16") in {
        (r["from"], r["to"], r["precision"]) for r in pairs
    }
    with pytest.raises(StopIteration):
        _fit_row("snapdragon-x-elite", "litert", "fp16")
    for runtime, basis in (("litert", "family-fit:"), ("qnn", "sibling: measured on snapdragon-x-elite")):
        words = {"work": work, "measured": {"snapdragon-x-elite": 4.0}, "runtime": runtime}
        latency = _ask(_device("galaxy-s25"), "fp16", **words)["latency"]
        assert latency.basis.startswith(basis)


@pytest.mark.parametrize(
    ("row", "word"),
    [
        (FIT | {"hihg": 1}, "hihg"),
        ({k: v for k, v in FIT.items() if k != "low"}, "low"),
        (FIT | {"low": 5.0}, "band"),
    ],
)
def test_a_broken_fit_is_refused(row: dict[str, object], word: str) -> None:
    with pytest.raises(TargetError, match=word):
        make_fit(SiblingFit, row, "x.toml")


def test_all_devices_are_ranked_and_unknown_ones_come_last(tmp_path: Path) -> None:
    made = edgekit.estimate(_save(tmp_path), budget="latency=1s")
    values = [row.latency.value for row in made.devices]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == sorted(known)
    assert known
    assert {row.verdicts[0].status for row in made.devices if row.latency.value is None} == {"unknown"}


def test_the_printed_ranking_keeps_every_interval_basis_and_kind(tmp_path: Path) -> None:
    names = ["galaxy-s24", "jetson-orin-nano-super", "pixel-10"]
    made = edgekit.estimate(_save(tmp_path), devices=names, measured={"galaxy-s24": "4ms"})
    lines = render_estimate(made).splitlines()
    rows = {line.split()[0]: line for line in lines if line.startswith(tuple(names))}
    assert "  4ms measured  " in rows["galaxy-s24"]
    assert rows["pixel-10"].split()[1] == "unknown"
    for device in made.devices:
        predicted = [row for row in device.figures if row.kind == "predicted"]
        assert len(predicted) == rows[device.device].count("[") == rows[device.device].count("..")
        for row in device.figures:
            assert f"basis of {row.metric.replace('_', ' ')}: {row.basis}" in lines
    bare = replace(made.devices[0].latency, kind="predicted", basis="spec: by hand", interval=None)
    alone = replace(made.devices[0], figures=(bare,))
    assert "ms predicted  " in render_estimate(replace(made, devices=(alone,)))


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"devices": "galaxy-s2x"}, "galaxy-s2"),
        ({"budget": "latency=fast"}, "latency=fast"),
        ({"precision": "int7"}, "int7"),
        ({"measured": {"galaxy-s24": "4"}}, "latency=4"),
        ({"runtime": "litrt"}, "did you mean 'litert'"),
        ({"scenario": "x.toml"}, "a model and a scenario"),
        ({"device": "galaxy-s24"}, "device"),
    ],
)
def test_words_that_cannot_be_honoured_are_refused(
    tmp_path: Path, words: dict[str, object], said: str
) -> None:
    with pytest.raises(UsageError) as caught:
        edgekit.estimate(_save(tmp_path), **words)  # type: ignore[arg-type]  # bad input on purpose
    assert said in str(caught.value)


def test_open_sizes_ask_for_a_shape(tmp_path: Path) -> None:
    path = _save(tmp_path, "n")
    with pytest.raises(UsageError) as caught:
        edgekit.estimate(path)
    assert "--shape x=?,3,8,8" in caught.value.fix.replace("n,", "?,")
    assert (
        edgekit.estimate(path, shapes="x=2,3,8,8", devices="raspberry-pi-5").work["model"].macs == 2 * 15872
    )


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    model = _model()
    model.graph.node.append(helper.make_node("QuantizeLinear", ["y", "s"], ["q"]))
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [1.0]))
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4, 8, 8]))
    onnx.save(model, tmp_path / "q.onnx")
    with pytest.raises(UsageError, match="quantized"):
        edgekit.estimate(tmp_path / "q.onnx")
