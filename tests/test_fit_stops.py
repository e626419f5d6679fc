"""What the validation page says of its misses, and the CPU's fit, on tables small enough to check by hand."""

from __future__ import annotations

import math

import pytest

from edgekit._values import Device, Figure
from edgekit._work_terms import TERMS
from scripts.fit.cpu import CpuRun, MixedRun, fit_cpus, over_whole
from scripts.fit.decode import Point as Token
from scripts.fit.decode import repeats
from scripts.fit.family import CellFit
from scripts.fit.stops import Point, alike_graphs, other_runtime, rank_models, same_file, without_common
from scripts.fit.tables import cpu_latencies, mixed_latencies
from scripts.fit.unseen import score_spec, score_unseen, spec_ratios


def _point(device: str, model: str, factor: float) -> Point:
    return Point(device, "qnn", "int8", (model, ""), math.log(factor))


POINTS = [_point("a", "m", 2.0), _point("b", "m", 2.2), _point("c", "m", 1.8), _point("a", "n", 1.1)]


def test_what_a_model_has_in_common_is_its_median_error() -> None:
    left = [math.exp(error) for error in without_common(POINTS, lambda point: point.graph)]
    assert left == pytest.approx([1.0, 1.1, 0.9, 1.0])


def test_models_that_miss_most_come_first() -> None:
    ranked = rank_models([_point("a", "n", 0.71), _point("a", "o", 0.69), *POINTS])
    assert [(model, sum(point.far for point in own)) for model, own in ranked] == [
        ("m", 3),
        ("o", 1),
        ("n", 0),
    ]


def test_one_compiled_network_is_compared_in_its_two_front_ends() -> None:
    row = {"model": "m", "component": "M", "precision": "w8a8", "device": "Samsung Galaxy S24"}
    times = {"qnn_context_binary": "110", "precompiled_qnn_onnx": "100", "onnx": "400"}
    rows = [row | {"runtime": runtime, "latency_us": time} for runtime, time in times.items()]
    rows.append(row | {"model": "n", "runtime": "qnn_context_binary", "latency_us": "5"})
    assert same_file(rows) == pytest.approx([math.log(1.1)])


def test_a_constant_between_two_runtimes_is_no_difference() -> None:
    graphs: dict[tuple[str, str], object] = {(f"m{at}", ""): {} for at in range(12)}
    slow = dict.fromkeys(graphs, 3.0) | {("m0", ""): 6.0}
    known = {("d", "litert", "fp16"): slow, ("d", "qnn", "fp16"): dict.fromkeys(graphs, 1.0)}
    found = other_runtime(graphs, known, ("litert", "qnn"), "fp16")
    assert sorted(found) == pytest.approx([0.0] * 11 + [math.log(2)])
    del known["d", "qnn", "fp16"]["m1", ""]
    assert other_runtime(graphs, known, ("litert", "qnn"), "fp16") == []  # too few to share a constant


def test_graphs_of_two_models_are_alike_where_every_count_is() -> None:
    terms = dict.fromkeys(TERMS, 100.0)
    graphs = {("m", ""): terms, ("n", ""): terms | {"dense": 101.0}, ("o", ""): terms | {"dense": 110.0}}
    pairs, ratios = alike_graphs(
        graphs, {("d", "qnn", "fp16"): {("m", ""): 2.0, ("n", ""): 1.0, ("o", ""): 9.0}}
    )
    assert pairs == [(("m", ""), ("n", ""))]
    assert ratios == pytest.approx([math.log(2)])


def test_repeats_are_figures_of_one_model_on_one_device() -> None:
    rows = [("d", "m", 10.0), ("d", "m", 12.0), ("d", "n", 10.0), ("e", "m", 50.0)]
    points = [Token("f", device, "w4", model, ms, 1, 1.0, 1.0) for device, model, ms in rows]
    assert repeats(points) == pytest.approx([math.log(1.2)])


def test_a_cpu_is_fitted_by_its_own_whole_runs() -> None:
    """2 ms a G MAC, 0.5 ms a million numbers and 0.1 ms an operator are found again."""
    graphs = {
        (f"m{at}", ""): dict.fromkeys(TERMS, 0.0) | {"dense": macs, "moved_deep": moved, "layers": layers}
        for at, (macs, moved, layers) in enumerate(
            [(1, 9, 20), (8, 2, 30), (2, 20, 10), (30, 5, 60), (0.5, 1, 90), (12, 40, 15), (3, 3, 3)]
        )
    }
    runs = [
        CpuRun("d", graph, 2 * terms["dense"] + 0.5 * terms["moved_deep"] + 0.1 * terms["layers"])
        for graph, terms in graphs.items()
    ]
    (fit,) = fit_cpus(graphs, {"int8": runs})
    assert (fit.gmac_ms, fit.moved_ms, fit.op_ms) == pytest.approx((2.0, 0.5, 0.1), rel=0.1)
    # The network of the most operators by far is beyond the others when it is held out.
    assert sorted(map(abs, fit.errors))[-2] < 0.05


def test_only_whole_runs_on_the_cpu_count() -> None:
    row = {
        "model": "m", "component": "M", "precision": "w8a8", "device": "Snapdragon 7 Gen 4 QRD",
        "runtime": "onnx", "latency_us": "4000", "layers_npu": "0", "layers_gpu": "0", "layers_cpu": "9",
    }  # fmt: skip
    others = [{"layers_npu": "1"}, {"runtime": "tflite"}, {"precision": "float"}, {"layers_cpu": "0"}]
    found = cpu_latencies([row, *(row | other for other in others)])
    assert found == {"int8": [CpuRun("snapdragon-7-gen-4", ("m", ""), 4.0)], "fp32": []}


def test_the_roofline_is_the_longer_of_arithmetic_and_memory() -> None:
    figures = {"int8_dense": 2.0, "dram_bandwidth": 10.0}
    known = {name: Figure(value, "", "a source", "seen") for name, value in figures.items()}
    device = Device("d", "d", "qnn", "one", {"one": {"source": "a source"}}, figures=known)
    none = dict.fromkeys(TERMS, 0.0)
    # 4 G MACs: 8e9 operations at 2e12 a second are 4 ms. 10 M weights, twice 20 M numbers: 5 ms at 10 GB/s.
    busy = none | {"dense": 4.0, "weights": 1.0}
    moving = none | {"dense": 1.0, "weights": 10.0, "moved_deep": 15.0, "moved_view": 5.0}
    graphs = {("busy", ""): busy, ("moving", ""): moving}
    ratios = spec_ratios(
        device, "int8", graphs, {("busy", ""): 6.0, ("moving", ""): 50.0, ("other", ""): 1.0}
    )
    assert ratios == pytest.approx([1.5, 10.0])
    # 2.5 times the roofline is 67 % over 1.5 of it and 75 % under 10; the band from 1 to 7.5 holds the first.
    assert score_spec(ratios) == pytest.approx((0.5, (2 / 3 + 0.75) / 2))
    assert spec_ratios(device, "fp16", graphs, {("busy", ""): 6.0}) == []


def test_a_device_is_judged_by_the_errors_of_the_others() -> None:
    cells = {("a", "qnn", "int8"): [0.0, 0.1, 3.0], ("b", "qnn", "int8"): [-0.2, 0.2]}
    made = score_unseen({**cells, ("a", "qnn", "fp16"): [0.5]})
    # a's two small errors lie within what b's say, its large one does not; b's lie within a's in part.
    assert made["a", "qnn", "int8"].coverage == pytest.approx(2 / 3)
    assert made["a", "qnn", "fp16"].coverage is None


def test_runs_in_parts_are_held_to_the_whole_on_the_npu() -> None:
    row = {
        "model": "m", "component": "M", "precision": "w8a8", "device": "Samsung Galaxy S24",
        "runtime": "tflite", "latency_us": "6000", "layers_npu": "8", "layers_gpu": "1", "layers_cpu": "2",
    }  # fmt: skip
    mixed = mixed_latencies([row, row | {"layers_cpu": "0"}, row | {"layers_npu": "0"}])
    assert mixed == {("galaxy-s24", "litert", "int8"): [MixedRun(("m", ""), 6.0, 8, 3)]}
    cell = CellFit("galaxy-s24", "litert", "int8", {"dense": 0.5}, {}, (1.0, 1.0))
    found = over_whole([cell], {("m", ""): {"dense": 4.0}}, mixed)
    assert found == {("m", "litert", "int8", 8, 3): [3.0]}
