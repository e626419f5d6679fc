"""Observed ranges against a plain session that returns every intermediate tensor."""

from __future__ import annotations

import json
import subprocess
import sys
from dataclasses import replace
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component, DimRange, TensorInfo
from edgekit.calibration import observe_ranges as observing
from edgekit.calibration.observe_ranges import observe_ranges
from edgekit.calibration.plan_measures import WatchList
from edgekit.calibration.record import CalibrationRecord
from edgekit.calibration.samples import Sample, Samples, load_samples
from edgekit.errors import ModelError, SamplesError, UsageError
from edgekit.passes.prepare_component import prepare_component
from tests.models import package_model

Feeds = dict[str, np.ndarray]


def component(nodes: list[onnx.NodeProto], dims: list[int | str], *weights: np.ndarray) -> Component:
    initializers = [numpy_helper.from_array(array, f"w{index}") for index, array in enumerate(weights)]
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, dims)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        initializers,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return Component("model", ir.from_proto(onnx.shape_inference.infer_shapes(model)), "d" * 64)


def list_samples(*arrays: np.ndarray) -> Samples:
    feeds = [Sample(f"s{index}", {"x": array.astype(np.float32)}) for index, array in enumerate(arrays)]
    return Samples("e" * 64, "real", "test", len(feeds), lambda: iter(feeds))


def run_plainly(model: ir.Model, feeds: Feeds) -> Feeds:
    proto = ir.to_proto(model)
    names = [name for node in proto.graph.node for name in node.output]
    del proto.graph.output[:]
    proto.graph.output.extend(helper.make_empty_tensor_value_info(name) for name in names)
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return {**dict(zip(names, map(np.asarray, session.run(None, feeds)), strict=True)), **feeds}


@pytest.fixture(scope="module")
def classifier() -> Component:
    path = package_model("ppocr-cls")
    shape = tuple(DimRange(size, size) for size in (1, 3, 48, 192))
    return prepare_component(Component("model", ir.load(path), "d" * 64), shapes={"x": shape})


def draw_images(count: int) -> list[np.ndarray]:
    return [
        np.random.default_rng(i).normal(0, 1 + i, (1, 3, 48, 192)).astype(np.float32) for i in range(count)
    ]


@pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse"])
def test_extremes_equal_those_of_every_intermediate_of_a_real_model(
    classifier: Component, observer: str
) -> None:
    images = draw_images(3)
    record = observe_ranges(classifier, list_samples(*images), observer=observer)
    runs = [run_plainly(classifier.model, {"x": image}) for image in images]
    floats = {name for name, value in runs[0].items() if value.dtype == np.float32}
    assert set(record.ranges) == floats
    for name, found in record.ranges.items():
        assert found.low == min(float(run[name].min()) for run in runs), name
        assert found.high == max(float(run[name].max()) for run in runs), name


@pytest.mark.parametrize("observer", ["minmax", "percentile"])
def test_inputs_and_the_graphs_own_outputs_are_shown_once_a_sample(
    classifier: Component, observer: str
) -> None:
    images, shown = draw_images(3), list[tuple[Feeds, Feeds]]()
    watch = WatchList(show=lambda inputs, outputs: shown.append((dict(inputs), dict(outputs))))
    observe_ranges(classifier, list_samples(*images), observer=observer, watch=watch)
    names = [str(value.name) for value in classifier.model.graph.outputs]
    for image, (inputs, outputs) in zip(images, shown, strict=True):
        expected = run_plainly(classifier.model, {"x": image})
        assert inputs.keys() == {"x"}
        np.testing.assert_array_equal(inputs["x"], image)
        assert list(outputs) == names
        for name in names:
            np.testing.assert_allclose(outputs[name], expected[name], rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("observer", ["minmax", "percentile"])
def test_where_nothing_is_to_be_observed_the_record_is_empty(classifier: Component, observer: str) -> None:
    record = observe_ranges(classifier, list_samples(*draw_images(2)), observer=observer, watch=WatchList(()))
    assert (record.ranges, record.sample_count) == ({}, 2)


@pytest.fixture
def watches(monkeypatch: pytest.MonkeyPatch) -> list[observing._Watch]:
    """Every watch that observe_ranges makes, so that a test can look at its histograms."""
    made: list[observing._Watch] = []
    original = observing._Watch

    def keep(*given: Any) -> observing._Watch:
        made.append(original(*given))
        return made[-1]

    monkeypatch.setattr(observing, "_Watch", keep)
    return made


def test_histogram_of_a_tensor_below_the_element_count_is_the_whole_tensor(
    classifier: Component, watches: list[observing._Watch]
) -> None:
    images = draw_images(2)
    observe_ranges(classifier, list_samples(*images), observer="percentile")
    runs = [run_plainly(classifier.model, {"x": image}) for image in images]
    for name, seen in watches[0].observations().items():
        values = np.concatenate([run[name].ravel() for run in runs]).astype(np.float64)
        assert seen.histogram is not None
        limit = 2.0**seen.histogram.exponent
        expected, _ = np.histogram(values, bins=len(seen.histogram.counts), range=(-limit, limit))
        np.testing.assert_array_equal(seen.histogram.counts, expected, err_msg=name)


def test_a_large_tensor_yields_at_least_the_wanted_elements_spread_over_it(
    watches: list[observing._Watch],
) -> None:
    relu = component([helper.make_node("Relu", ["x"], ["y"])], [1, 64, "h", "w"])
    # Every channel, row and column has a value of its own range: a stride that follows one of them shows.
    values = np.random.default_rng(0).normal(0, 1, (1, 64, 320, 320)) * np.arange(1, 65)[None, :, None, None]
    observe_ranges(relu, list_samples(values, values), observer="percentile")
    seen = watches[0].observations()["x"]
    assert seen.histogram is not None
    assert 1_000_000 <= seen.histogram.counts.sum() <= 2_500_000
    share = np.cumsum(seen.histogram.counts) / seen.histogram.counts.sum()
    edges = (np.arange(1, len(share) + 1) - seen.histogram.bins) * seen.histogram.width
    ordered = np.sort(values, axis=None)
    exact = np.searchsorted(ordered, edges) / ordered.size
    assert np.abs(share - exact).max() < 0.003


def test_the_model_stays_unchanged_and_equal_runs_give_equal_bytes(classifier: Component) -> None:
    before = ir.to_proto(classifier.model).SerializeToString()
    records = [observe_ranges(classifier, list_samples(*draw_images(2)), observer="mse") for _ in range(2)]
    assert ir.to_proto(classifier.model).SerializeToString() == before
    assert records[0].to_json() == records[1].to_json()


def test_samples_of_changing_shapes_and_outputs_of_unknown_size_are_observed() -> None:
    nodes = [
        helper.make_node("Relu", ["x"], ["r"]),
        helper.make_node("NonZero", ["r"], ["places"]),
        helper.make_node("Transpose", ["places"], ["turned"], perm=[1, 0]),
        helper.make_node("GatherND", ["r", "turned"], ["found"]),
        helper.make_node("Clip", ["found", "", "w0"], ["y"]),
    ]
    arrays = [np.array([[-1.0, 2.0, 0.5]]), np.array([[-3.0, -1.0]]), np.array([[4.0, 0.25, 1.0, 7.0]])]
    record = observe_ranges(
        component(nodes, ["n", "m"], np.array(5, np.float32)), list_samples(*arrays), observer="percentile"
    )
    assert (record.ranges["x"].low, record.ranges["x"].high) == (-3.0, 7.0)
    assert (record.ranges["found"].low, record.ranges["found"].high) == (0.25, 7.0)
    assert (record.ranges["y"].low, record.ranges["y"].high) == (0.25, 5.0)  # empty on the second sample


def test_only_the_named_tensors_are_observed(classifier: Component) -> None:
    names = [node.outputs[0].name for node in classifier.model.graph][3:5]
    record = observe_ranges(
        classifier, list_samples(*draw_images(1)), watch=WatchList(tuple(map(str, names)))
    )
    assert sorted(record.ranges) == sorted(str(name) for name in names)
    with pytest.raises(ModelError, match="'nowhere' is no float32 activation"):
        observe_ranges(classifier, list_samples(*draw_images(1)), watch=WatchList(("nowhere",)))


@pytest.mark.parametrize(
    ("kind", "value", "tensor"), [("Sqrt", -1.0, "bad"), ("Log", 0.0, "bad"), ("Reciprocal", 0.0, "bad")]
)
def test_an_activation_that_is_not_finite_is_refused_naming_tensor_and_sample(
    kind: str, value: float, tensor: str
) -> None:
    nodes = [helper.make_node(kind, ["x"], ["bad"], name="odd"), helper.make_node("Relu", ["bad"], ["y"])]
    good = np.ones((1, 40))
    wrong = good.copy()
    wrong[0, 23] = value
    with pytest.raises(SamplesError, match=rf"'{tensor}' \(output of {kind} 'odd'\).*'s1'"):
        observe_ranges(component(nodes, [1, 40]), list_samples(good, wrong))


def test_a_sample_the_graph_cannot_run_is_named() -> None:
    nodes = [helper.make_node("MatMul", ["x", "w0"], ["y"])]
    small = component(nodes, ["n", "m"], np.ones((3, 2), np.float32))
    with pytest.raises(SamplesError, match="cannot run sample 's1'"):
        observe_ranges(small, list_samples(np.ones((1, 3)), np.ones((1, 4))))


def test_large_weights_are_read_in_place() -> None:
    weight = np.random.default_rng(0).normal(0, 1, (64, 64)).astype(np.float32)
    x = np.random.default_rng(1).normal(0, 1, (2, 64)).astype(np.float32)
    small = component([helper.make_node("MatMul", ["x", "w0"], ["y"])], ["n", 64], weight)
    record = observe_ranges(small, list_samples(x))
    assert record.ranges["y"].high == pytest.approx(float((x @ weight).max()), rel=1e-5)
    assert small.model.graph.initializers["w0"].const_value is not None


def test_no_samples_and_unknown_observers_are_refused(classifier: Component) -> None:
    with pytest.raises(SamplesError, match="no samples"):
        observe_ranges(classifier, list_samples())
    with pytest.raises(UsageError, match="minmax"):
        observe_ranges(classifier, list_samples(*draw_images(1)), observer="minmx")


def test_progress_counts_samples(classifier: Component) -> None:
    calls: list[tuple[str, int, int | None]] = []
    observe_ranges(classifier, list_samples(*draw_images(2)), progress=lambda *call: calls.append(call))
    assert calls == [("calibrate", 1, 2), ("calibrate", 2, 2)]


def test_the_record_carries_what_it_was_made_from(classifier: Component) -> None:
    with pytest.warns(UserWarning, match="RANDOM"):
        samples = load_samples("random", [TensorInfo("x", "float32", (1, 3, 48, 192))], limit=2)
    record = observe_ranges(replace(classifier, name="encoder"), samples, observer="percentile")
    assert (record.component, record.model_digest) == ("encoder", "d" * 64)
    assert (record.samples_digest, record.samples_kind, record.sample_count) == (samples.digest, "random", 2)
    assert record.parameters == {"percentile": "99.99"}
    assert record.histograms_digest is not None


_MEASURE = """
import json, resource, sys
import numpy as np, onnx_ir as ir
from onnx import TensorProto, helper
from edgekit._values import Component, TensorInfo
from edgekit.calibration.observe_ranges import observe_ranges
from edgekit.calibration.samples import load_samples
count = int(sys.argv[1])
nodes = [helper.make_node("Relu" if i % 2 else "Neg", [f"t{i}"], [f"t{i + 1}"]) for i in range(40)]
info = lambda name: helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 16, 256, 256])
values = [info(f"t{i}") for i in range(1, 40)]
graph = helper.make_graph(nodes, "g", [info("t0")], [info("t40")], value_info=values)
model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
def draw():
    for index in range(count):
        yield np.random.default_rng(index).standard_normal((1, 16, 256, 256), np.float32)
samples = load_samples(draw, [TensorInfo("t0", "float32", (1, 16, 256, 256))])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
observe_ranges(Component("model", ir.from_proto(model), "d" * 64), samples, observer="percentile")
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024))
"""


@pytest.mark.skipif(sys.platform == "win32", reason="getrusage is missing on Windows")
def test_memory_does_not_grow_with_samples_nor_hold_all_activations() -> None:
    def measure(count: int) -> float:
        return float(
            json.loads(
                subprocess.run(
                    [sys.executable, "-c", _MEASURE, str(count)], capture_output=True, check=True
                ).stdout
            )
        )

    few, many = measure(8), measure(32)
    # 41 activations of 4 MB are 164 MB; the session alone needs two of them at a time.
    assert many < few + 25
    assert many < 150


@pytest.mark.parametrize("axis", [1, 3])
def test_extremes_by_channel_equal_numpys_over_the_tensor_itself(classifier: Component, axis: int) -> None:
    images = draw_images(3)
    (conv,) = [node for node in classifier.model.graph if node.op_type == "Conv"][:1]
    name = str(conv.outputs[0].name)
    watch = WatchList((name,), {name: axis})
    record = observe_ranges(classifier, list_samples(*images), watch=watch)
    seen = np.concatenate([run_plainly(classifier.model, {"x": image})[name] for image in images])
    others = tuple(item for item in range(4) if item != axis)
    np.testing.assert_array_equal(record.channels[name].low, seen.min(axis=others))
    np.testing.assert_array_equal(record.channels[name].high, seen.max(axis=others))
    assert record.ranges[name].low == seen.min()
    assert record.ranges[name].high == seen.max()
    assert CalibrationRecord.from_json(record.to_json()) == record
