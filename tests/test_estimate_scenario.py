"""A request of several components, against figures computed by hand."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import onnx
import pytest
from onnx import TensorProto, helper

import edgekit
from edgekit._decode import predict_step
from edgekit._values import Device, Figure
from edgekit._work import Work
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

SCENARIO = """
[sizes]
prompt = 6
past = 10
tokens = 5

[component.prefill]
file = "prefill.onnx"
shape = { x = "prompt,16" }

[component.decode]
file = "decode.onnx"
cache = ["past_*"]
weights_of = "prefill"

[[step]]
component = "prefill"
feeds = "decode"

[[step]]
component = "decode"
repeat = "tokens"
"""


def _tensor(name: str, dims: list[int | str]) -> Any:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, dims)


def _save(folder: Path, name: str, nodes: list[Any], inputs: list[Any], outputs: list[Any]) -> None:
    weight = helper.make_tensor("w", TensorProto.FLOAT, [16, 16], [0.1] * 256)
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weight])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, folder / name)


def _make(folder: Path, text: str = SCENARIO) -> Path:
    """A prefill of one product, and a decode step of the same product beside a cache of [past, 16]."""
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    _save(folder, "prefill.onnx", [product], [_tensor("x", ["n", 16])], [_tensor("y", ["n", 16])])
    joined = helper.make_node("Concat", ["past_key", "y"], ["present"], axis=0)
    inputs = [_tensor("x", [1, 16]), _tensor("past_key", ["past", 16])]
    outputs = [_tensor("y", [1, 16]), _tensor("present", ["m", 16])]
    _save(folder, "decode.onnx", [product, joined], inputs, outputs)
    (folder / "scenario.toml").write_text(text, encoding="utf-8")
    return folder / "scenario.toml"


def _board(**figures: float) -> Device:
    known = {key: Figure(value, "", "a source", "seen") for key, value in figures.items()}
    return Device("board", "board", "litert", "one", {"one": {"source": "a source"}}, figures=known)


def test_a_decode_step_reads_weights_and_cache_at_a_share_of_the_bandwidth() -> None:
    work = Work(
        0, 0, 0, 0, weights=0, activations=0, layers=3, peak_activations=0, read_weights=2_000_000_000
    )
    # 2e9 weights of one byte and 1e9 bytes of cache, 3 GB at 60 % of 10 GB/s: 500 ms.
    made = predict_step(work, _board(dram_bandwidth=10), "w8", cache_bytes=1e9)
    assert made.value == pytest.approx(500.0)
    assert made.interval == pytest.approx((3e3 / 8.5, 3e3 / 2.5))
    assert made.basis.startswith("spec:")
    assert predict_step(work, _board(), "w8", cache_bytes=0).kind == "unknown"


def test_a_request_adds_its_steps_and_counts_shared_weights_once(tmp_path: Path) -> None:
    made = edgekit.estimate(scenario=_make(tmp_path), devices="jetson-orin-nano-super", precision="w4")
    row = made.devices[0]
    figures = {item.metric: item for item in row.figures}
    prefill, decode = row.steps
    assert (made.work["prefill"].macs, made.work["decode"].macs) == (6 * 256, 256)
    assert made.cache_per_token == {"decode": 16 * 2}  # one key of 16 numbers in fp16
    assert (decode.repeat, decode.phase, prefill.phase) == (5, "decode", "prefill")
    assert prefill.latency.value is not None
    assert decode.latency.value is not None
    assert figures["time_to_first_token"].value == pytest.approx(prefill.latency.value)
    assert figures["latency"].value == pytest.approx(prefill.latency.value + 5 * decode.latency.value)
    assert figures["tokens_per_s"].value == pytest.approx(1e3 / decode.latency.value)
    # 256 weights of 4.5 bits once, the cache's 10 x 16 fp16 numbers, activations; the rest is TensorRT's own.
    memory = figures["memory"]
    assert memory.interval is not None
    assert memory.interval[0] == pytest.approx(256 * 0.5625 + 250e6)


def test_a_folder_with_a_scenario_is_one(tmp_path: Path) -> None:
    _make(tmp_path)
    made = edgekit.estimate(
        tmp_path, devices="jetson-agx-thor", precision="w4", budget="tokens_per_s=1tokens/s"
    )
    assert made.title == tmp_path.name
    assert made.devices[0].verdicts[0].status == "fits"


@pytest.mark.parametrize(
    ("was", "now", "said"),
    [
        ('shape = { x = "prompt,16" }', 'shape = { z = "prompt,16" }', "has no input 'z'"),
        ('cache = ["past_*"]', 'cache = ["kv_*"]', "has no input 'kv_*' to hold a cache"),
        ('component = "decode"', 'component = "decoder"', "did you mean 'decode'"),
        ("past = 10\n", "", "sizes are open"),
        ('file = "decode.onnx"', 'file = "gone.onnx"', "is missing"),
    ],
)
def test_a_scenario_that_does_not_fit_its_files_is_refused(
    tmp_path: Path, was: str, now: str, said: str
) -> None:
    assert was in SCENARIO
    with pytest.raises(UsageError) as caught:
        edgekit.estimate(scenario=_make(tmp_path, SCENARIO.replace(was, now)))
    assert said in str(caught.value)


def test_words_of_a_model_are_refused_beside_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write it into the scenario"):
        edgekit.estimate(scenario=_make(tmp_path), shapes="x=1,16")
    with pytest.raises(UsageError, match="no model is given"):
        edgekit.estimate()


def test_more_tokens_a_second_are_better() -> None:
    from edgekit._budget import judge_budget, parse_budget
    from edgekit._values import Measurement

    limits = parse_budget("tokens_per_s=20tokens/s")
    for value, ends, status in (
        (30.0, (25.0, 40.0), "fits"),
        (30.0, (10.0, 40.0), "unknown"),
        (9.0, (5.0, 12.0), "does not fit"),
    ):
        row = Measurement("tokens_per_s", value, "tokens/s", "predicted", "", ends)
        assert judge_budget(limits, [row])[0].status == status
    assert math.isclose(limits["tokens_per_s"].value, 20.0)
