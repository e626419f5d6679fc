"""Counted work, predictions and `edgekit estimate`, against figures computed by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._predict import predict
from edgekit._values import Device, Figure
from edgekit._work import Work, count_work
from edgekit.errors import TargetError, UsageError
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.profiles.read_fits import make_fit, sibling_fits

if TYPE_CHECKING:
    from pathlib import Path

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


def test_the_spec_band_is_a_multiple_of_the_roofline() -> None:
    # 8e9 operations at 2e12 a second: 4 ms; 1.001 MB at 1e12 B/s is less.
    latency, memory, power = predict(
        WORK, _device(int8_dense=2, dram_bandwidth=1000, power_limit=15), "int8", measured={}
    )
    assert latency.kind == "predicted"
    assert latency.basis.startswith("spec:")
    assert latency.value == pytest.approx(10.0)
    assert latency.interval == pytest.approx((4.0, 30.0))
    assert (memory.value, memory.interval) == (1_000_100, (1_000_000, math.inf))
    assert (power.value, power.interval) == (15, (0.0, 15))


def test_a_device_without_a_published_peak_is_unknown_and_says_so() -> None:
    latency, _, power = predict(WORK, _device(dram_bandwidth=10), "int8", measured={})
    assert (latency.kind, latency.value, power.kind) == ("unknown", None, "unknown")
    assert "int8 peak" in latency.basis


def test_a_model_below_the_fitted_sizes_is_unknown() -> None:
    small = Work(10**6, 0, 0, 0, weights=1000, activations=10, layers=1, peak_activations=10)
    board = _device(toolchain="tensorrt", int8_dense=2, dram_bandwidth=10)
    assert predict(small, board, "int8", measured={})[0].kind == "unknown"
    assert predict(WORK, board, "int8", measured={})[0].kind == "predicted"


def test_a_measurement_wins_and_carries_over_to_a_sibling() -> None:
    there = predict(
        WORK, _device("galaxy-s24", int8_dense=2, dram_bandwidth=9), "int8", measured={"galaxy-s24": 4.0}
    )
    assert (there[0].kind, there[0].value) == ("measured", 4.0)
    fit = sibling_fits()["galaxy-s24", "galaxy-s25", "int8"]
    sibling = predict(WORK, _device("galaxy-s25"), "int8", measured={"galaxy-s24": 4.0})[0]
    assert (sibling.kind, sibling.basis[:8]) == ("predicted", "sibling:")
    assert sibling.value == pytest.approx(4.0 * fit.scale)
    assert sibling.interval == pytest.approx((4.0 * fit.low, 4.0 * fit.high))


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
        make_fit(row, "x.toml")


def test_all_devices_are_ranked_and_unknown_ones_come_last(tmp_path: Path) -> None:
    made = edgekit.estimate(_save(tmp_path), budget="latency=1s")
    values = [row.figures[0].value for row in made.devices]
    known = [value for value in values if value is not None]
    assert values[: len(known)] == sorted(known)
    assert known
    assert {row.verdicts[0].status for row in made.devices if row.figures[0].value is None} == {"unknown"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"devices": "galaxy-s2x"}, "galaxy-s2"),
        ({"budget": "latency=fast"}, "latency=fast"),
        ({"precision": "int7"}, "int7"),
        ({"measured": {"galaxy-s24": "4"}}, "latency=4"),
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
    assert edgekit.estimate(path, shapes="x=2,3,8,8", devices="raspberry-pi-5").work.macs == 2 * 15872


def test_a_quantized_model_is_refused(tmp_path: Path) -> None:
    model = _model()
    model.graph.node.append(helper.make_node("QuantizeLinear", ["y", "s"], ["q"]))
    model.graph.initializer.append(helper.make_tensor("s", TensorProto.FLOAT, [], [1.0]))
    model.graph.output.append(helper.make_tensor_value_info("q", TensorProto.UINT8, [1, 4, 8, 8]))
    onnx.save(model, tmp_path / "q.onnx")
    with pytest.raises(UsageError, match="quantized"):
        edgekit.estimate(tmp_path / "q.onnx")
