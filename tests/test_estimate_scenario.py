"""A request of several components, against figures computed by hand."""

from __future__ import annotations

import json
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
from edgekit._bundle import open_bundle
from edgekit._decode import predict_step
from edgekit._foretold import foretell_request
from edgekit._latency import Question
from edgekit._prefill import predict_prefill
from edgekit._scenario import load_scenario
from edgekit._values import Device, Figure
from edgekit._work import Work
from edgekit._work_terms import TERMS
from edgekit.errors import UsageError
from edgekit.reports.estimate_report import render_estimate

FITS = Path(edgekit.__file__).parent / "profiles" / "fits"
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
    made = predict_step(Question(work, "w8"), _board(dram_bandwidth=10), cache_bytes=1e9)
    assert made.value == pytest.approx(500.0)
    assert made.interval == pytest.approx((3e3 / 8.5, 3e3 / 2.5))
    assert made.basis.startswith("spec:")
    assert predict_step(Question(work, "w8"), _board(), cache_bytes=0).kind == "unknown"


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


def test_tokens_a_second_rest_on_all_that_runs_for_a_token(tmp_path: Path) -> None:
    table = helper.make_tensor("w", TensorProto.FLOAT, [16, 4], [0.1] * 64)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1])
    look = helper.make_node("Gather", ["w", "ids"], ["y"])
    graph = helper.make_graph([look], "g", [ids], [_tensor("y", [1, 4])], [table])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    onnx.save(model, tmp_path / "look.onnx")
    more = '[component.look]\nfile = "look.onnx"\n[[step]]\ncomponent = "look"\nrepeat = "tokens"\n'
    made = edgekit.estimate(scenario=_make(tmp_path, SCENARIO + more), devices="galaxy-s25", precision="w8")
    row = made.devices[0]
    speed = next(item for item in row.figures if item.metric == "tokens_per_s")
    assert speed.basis == "sum of steps by spec; ends added as if all steps erred alike"
    assert "\nbasis of decode, decode: spec: 60 %" in render_estimate(made)
    # A lookup reads no weight as a whole: alone it takes no time, and no rate follows.
    (tmp_path / "scenario.toml").write_text(f"[sizes]\ntokens = 5\n{more}")
    alone = edgekit.estimate(tmp_path, devices="galaxy-s25", precision="w8").devices[0]
    assert {item.metric: item.kind for item in alone.figures}["tokens_per_s"] == "unknown"


def test_components_have_precisions_of_their_own(tmp_path: Path) -> None:
    path = _make(tmp_path)
    made = edgekit.estimate(scenario=path, devices="jetson-orin-nano-super", precision="w4,prefill=fp16")
    memory = {item.metric: item for item in made.devices[0].figures}["memory"]
    assert memory.interval is not None
    # The 256 weights are shared: fp16 in prefill is the most that one of the two holds.
    assert memory.interval[0] == pytest.approx(256 * 2 + 250e6)
    for words, said in (
        ("w4,prefil=fp16", "did you mean 'prefill'"),
        ("w4,w8", "both given"),
        ("w4,prefill=int7", "int7"),
    ):
        with pytest.raises(UsageError) as caught:
            edgekit.estimate(scenario=path, precision=words)
        assert said in str(caught.value)


def test_an_output_layer_that_shares_the_embedding_is_read_as_a_whole(tmp_path: Path) -> None:
    from edgekit._work import count_work
    from edgekit.passes.infer_shapes import infer_shapes

    table = helper.make_tensor("w", TensorProto.FLOAT, [8, 4], [0.5] * 32)
    look = helper.make_node("Gather", ["w", "ids"], ["e"])
    score = helper.make_node("Gemm", ["e", "w"], ["y"], transB=1)
    ids = helper.make_tensor_value_info("ids", TensorProto.INT64, [1])
    for nodes, output, read in (([look, score], _tensor("y", [1, 8]), 32), ([look], _tensor("e", [1, 4]), 0)):
        graph = helper.make_graph(nodes, "g", [ids], [output], [table])
        model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
        infer_shapes(model)
        work = count_work(model)
        assert work is not None
        assert (work.weights, work.read_weights) == (32, read)


def test_a_prompt_takes_no_less_than_reading_its_weights() -> None:
    rows = tomllib.loads((FITS / "decode.toml").read_text())["fit"]
    fit = next(row for row in rows if row["device"] == "jetson-orin-nano-super")
    board = replace(_board(dram_bandwidth=100), name="jetson-orin-nano-super", toolchain="tensorrt")
    terms = dict.fromkeys(TERMS, 0.0)
    work = Work(0, 0, 0, 0, weights=10**9, activations=0, layers=1, peak_activations=0, read_weights=10**9)
    short = predict_prefill(Question(replace(work, terms=terms), "w4"), board)
    assert short.value == pytest.approx(fit["layer_ms"] + 5.625 / fit["share"])  # 0.5625 GB at 100 GB/s
    # The device's own fit of convolutions says more, once the prompt is long.
    long = predict_prefill(Question(replace(work, terms=terms | {"dense": 1e3}), "w4"), board)
    rows = tomllib.loads((FITS / "jetson.toml").read_text())["fit"]
    own = next(row for row in rows if (row["device"], row["precision"]) == (board.name, "fp16"))
    assert long.value == pytest.approx(1e3 * own["ms"]["dense"])


def test_a_prompt_is_timed_by_the_public_prompts_of_its_device() -> None:
    rows = tomllib.loads((FITS / "prefill.toml").read_text())["fit"]
    fit = next(row for row in rows if (row["device"], row["precision"]) == ("jetson-agx-thor", "w4"))
    work = Work(10**12, 0, 0, 0, weights=0, activations=0, layers=253, peak_activations=0)
    thor = replace(_board(dram_bandwidth=273), name="jetson-agx-thor", toolchain="tensorrt")
    made = predict_prefill(Question(work, "w4"), thor)
    assert made.value == pytest.approx(253 * fit["layer_ms"] + 1000 * fit["gmac_ms"])


def test_fits_of_language_models_stand_for_the_runtime_they_were_made_with(tmp_path: Path) -> None:
    path = _make(tmp_path)
    rows = (
        ("jetson-orin-nano-super", "w4", None, "family-fit"),
        ("jetson-orin-nano-super", "w4", "onnxruntime", "spec"),
        ("jetson-agx-thor", "w4", "onnxruntime", "spec"),
        ("snapdragon-8-elite-gen-5", "w4a16", None, "family-fit"),
        ("snapdragon-8-elite-gen-5", "w4a16", "qnn", "family-fit"),
    )
    for device, precision, runtime, basis in rows:
        made = edgekit.estimate(scenario=path, devices=device, precision=precision, runtime=runtime)
        steps = {step.phase: step.latency.basis.partition(":")[0] for step in made.devices[0].steps}
        assert steps == {"prefill": basis, "decode": basis}, (device, runtime)


def test_weights_are_counted_and_never_read(tmp_path: Path) -> None:
    """The data file is a hole of 2 TB: reading it would not end, and NaN in it would not matter."""
    size = 2**40
    tensor = TensorProto(name="w", data_type=TensorProto.FLOAT16, dims=[2**20, 2**19])
    tensor.data_location = TensorProto.EXTERNAL
    for key, value in (("location", "w.data"), ("offset", "0"), ("length", str(size))):
        tensor.external_data.add(key=key, value=value)
    product = helper.make_node("MatMul", ["x", "w"], ["y"])
    first, last = (
        helper.make_tensor_value_info(name, TensorProto.FLOAT16, [1, count])
        for name, count in (("x", 2**20), ("y", 2**19))
    )
    graph = helper.make_graph([product], "g", [first], [last], [tensor])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]), tmp_path / "m.onnx")
    with (tmp_path / "w.data").open("wb") as file:
        file.truncate(size)
    work = edgekit.estimate(tmp_path / "m.onnx", devices="jetson-agx-thor").work["model"]
    assert (work.macs, work.weights) == (2**39, 2**39)


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


def test_a_measured_component_wins_on_its_device_and_stays_a_part_of_the_sum(tmp_path: Path) -> None:
    names = ["jetson-orin-nano-super", "galaxy-s24"]
    measured = {"jetson-orin-nano-super/decode": "20ms", "jetson-orin-nano-super/prefill": "100ms"}
    made = edgekit.estimate(scenario=_make(tmp_path), devices=names, measured=measured)
    plain = edgekit.estimate(scenario=tmp_path / "scenario.toml", devices=names)
    rows = {row.device: row for row in made.devices}
    prefill, decode = rows["jetson-orin-nano-super"].steps
    assert [(step.latency.kind, step.latency.value) for step in (prefill, decode)] == [
        ("measured", 100.0),
        ("measured", 20.0),
    ]
    figures = {item.metric: item for item in rows["jetson-orin-nano-super"].figures}
    # 100 ms and five steps of 20 ms; the request itself was never timed.
    assert figures["latency"].value == pytest.approx(200.0)
    assert figures["tokens_per_s"].value == pytest.approx(50.0)
    assert [figures[name].kind for name in ("latency", "tokens_per_s")] == ["predicted", "measured"]
    other = next(row for row in plain.devices if row.device == "galaxy-s24")
    assert rows["galaxy-s24"].steps == other.steps  # a step of a language model is carried to no other device


def test_what_a_fleet_took_of_a_component_counts_as_measured(tmp_path: Path) -> None:
    path, name = _make(tmp_path), "jetson-orin-nano-super"
    plain = edgekit.estimate(scenario=path, devices=[name])
    row = {"name": "latency/mean", "value": 20.0, "unit": "ms", "basis": "field: 1 device", "interval": None}
    works = {part: {"macs": one.macs, "weights": one.weights} for part, one in plain.work.items()}
    data: dict[str, object] = {
        "schema": "edgekit.measured",
        "version": 1,
        "bundle": "ab" * 32,
        "device": name,
        "target": "tensorrt",
        "devices": 1,
        "work": works,
        "artifacts": [{"component": "decode", "variant": plain.precision, "figures": [row]}],
    }
    (tmp_path / "measured.json").write_text(json.dumps(data))
    made = edgekit.estimate(scenario=path, devices=[name], measured_field=tmp_path / "measured.json")
    (was, _), (prefill, decode) = plain.devices[0].steps, made.devices[0].steps
    assert (decode.latency.kind, decode.latency.value) == ("measured", 20.0)
    assert decode.latency.basis == "measured: field: 1 device"
    assert prefill == was
    works["decode"]["macs"] *= 2
    (tmp_path / "measured.json").write_text(json.dumps(data))
    with pytest.raises(UsageError, match="not of what is asked"):
        edgekit.estimate(scenario=path, devices=[name], measured_field=tmp_path / "measured.json")


def test_a_model_that_is_like_two_components_of_a_fleet_is_taken_for_none(tmp_path: Path) -> None:
    path, name = _make(tmp_path), "jetson-orin-nano-super"
    work = edgekit.estimate(scenario=path, devices=[name]).work["decode"]
    row = {"unit": "ms", "basis": "field: 1 device", "interval": None, "name": "latency/mean"}
    parts = {"left": 20.0, "right": 30.0}
    data = {
        "schema": "edgekit.measured", "version": 1, "bundle": "ab" * 32, "device": name, "target": "tensorrt",
        "devices": 1, "work": {part: {"macs": work.macs, "weights": work.weights} for part in parts},
        "artifacts": [
            {"component": part, "variant": "int8", "figures": [row | {"value": ms}]}
            for part, ms in parts.items()
        ],
    }  # fmt: skip
    (tmp_path / "measured.json").write_text(json.dumps(data))
    words: dict[str, Any] = {"devices": name, "measured_field": tmp_path / "measured.json"}
    words["shapes"] = ["past_key=10,16"]
    with pytest.raises(UsageError, match="of left and right, which are alike"):
        edgekit.estimate(tmp_path / "decode.onnx", **words)


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ("galaxy-s24", "components: prefill, decode"),
        ("galaxy-s24/decod", "components: prefill, decode"),
        ("galaxy-s23x/decode", "device 'galaxy-s23x' is unknown"),
    ],
)
def test_a_measurement_of_no_component_is_refused(tmp_path: Path, place: str, said: str) -> None:
    with pytest.raises(UsageError) as caught:
        edgekit.estimate(scenario=_make(tmp_path), measured={place: "20ms"})
    assert said in str(caught.value)


def test_words_of_a_model_are_refused_beside_a_scenario(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="write it into the scenario"):
        edgekit.estimate(scenario=_make(tmp_path), shapes="x=1,16")
    with pytest.raises(UsageError, match="no model is given"):
        edgekit.estimate()


def test_more_tokens_a_second_are_better() -> None:
    from edgekit._budget import judge_budget, parse_budget
    from edgekit._results import Measurement

    limits = parse_budget("tokens_per_s=20tokens/s")
    for value, ends, status in (
        (30.0, (25.0, 40.0), "fits"),
        (30.0, (10.0, 40.0), "unknown"),
        (9.0, (5.0, 12.0), "does not fit"),
    ):
        row = Measurement("tokens_per_s", value, "tokens/s", "predicted", "", ends)
        assert judge_budget(limits, [row])[0].status == status
    assert math.isclose(limits["tokens_per_s"].value, 20.0)


@pytest.fixture
def converted(tmp_path: Path) -> Path:
    """The bundle of that decoder at the scenario's own sizes."""
    folder = _make(tmp_path).parent
    words: dict[str, Any] = {"shapes": ("n=6", "past=10"), "precisions": "fp32", "cache": "off"}
    assert edgekit.convert(folder, targets="raspberry-pi-5", output=tmp_path / "out", **words).passed
    return tmp_path / "out" / "raspberry-pi-5"


def test_a_report_predicts_the_request_that_an_estimate_does(converted: Path, tmp_path: Path) -> None:
    scenario = tmp_path / "scenario.toml"
    (wanted,) = edgekit.estimate(scenario=scenario, devices="raspberry-pi-5", precision="fp32").devices
    made = edgekit.report(
        [converted], tmp_path / "page", scenario=tmp_path, budget={"tokens_per_s": "1tokens/s"}
    )
    figures = {figure.metric: figure for figure in made.devices[0].figures}
    for metric in ("latency", "time_to_first_token", "tokens_per_s", "memory", "energy"):
        want = next(figure for figure in wanted.figures if figure.metric == metric)
        assert figures[metric].value == pytest.approx(want.value)
        assert figures[metric].interval == pytest.approx(want.interval)
        assert figures[metric].kind == "predicted"
    assert made.devices[0].overall == "likely fits"
    alone = edgekit.report([converted], tmp_path / "other").devices[0]
    assert "latency" not in {figure.metric for figure in alone.figures}


def test_a_measured_step_takes_the_place_of_its_prediction(converted: Path, tmp_path: Path) -> None:
    scenario = load_scenario(tmp_path / "scenario.toml")
    with open_bundle(converted) as bundle:
        found = {
            figure.metric: figure for figure in foretell_request(bundle, scenario, {("decode", "fp32"): 2.0})
        }
    first = found["time_to_first_token"].value
    assert first is not None
    assert found["latency"].value == pytest.approx(first + 5 * 2.0)
    assert (found["tokens_per_s"].value, found["tokens_per_s"].kind) == (500.0, "measured")


def test_a_scenario_of_other_components_is_refused(converted: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.toml"
    other.write_text('[component.solo]\nfile = "prefill.onnx"\n[[step]]\ncomponent = "solo"\n')
    with pytest.raises(UsageError, match="is of solo, and the bundle of decode, prefill"):
        edgekit.report([converted], tmp_path / "page", scenario=other)


def test_a_request_is_promised_no_time_where_a_compiler_left_a_component_partly_on_the_cpu(
    converted: Path, tmp_path: Path
) -> None:
    scenario = load_scenario(tmp_path / "scenario.toml")
    with open_bundle(converted) as bundle:
        first, *rest = bundle.manifest["artifacts"]
        left = {"unit": "CPU", "ops": 1, "why": "TopK 't': no form", "fallback": True}
        rows = [{**first, "placements": [left]}, *rest]
        split = foretell_request(
            replace(bundle, manifest={**bundle.manifest, "artifacts": rows}), scenario, {}
        )
    assert {figure.metric for figure in split} == {"memory", "power"}
