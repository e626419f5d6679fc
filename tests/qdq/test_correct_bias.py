"""Bias correction: the mean error of every int8 convolution is gone, and nothing else has changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from edgekit._qdq import QdqForm, insert_corrected_qdq, insert_qdq, measure_means, pick_feeds
from edgekit._qdq.mean_errors import measure_errors
from edgekit._schemes import NATIVE_U8, PORTABLE, Scheme
from edgekit.calibration.samples import Sample, Samples
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.qdq_nets import as_component, net, node, normal, record_for

if TYPE_CHECKING:
    import onnx_ir as ir

    from tests.qdq.qdq_nets import Array


def _edges_on_paper(opset: int) -> tuple[onnx.ModelProto, list[dict[str, Array]]]:
    """Two convolutions whose filters sum to zero over mostly flat images of one grey."""
    first, second = normal(4, 1, 3, 3), normal(3, 4, 3, 3, seed=1)
    first -= first.mean(axis=(2, 3), keepdims=True)
    second -= second.mean(axis=(2, 3), keepdims=True)
    weights = {"w": first, "b": normal(4) + 3, "v": second, "c": normal(3)}
    nodes = [
        node("Conv", ["x", "w", "b"], ["y"], "one"),
        node("Sigmoid", ["y"], ["s"], "gate"),
        node("Mul", ["y", "s"], ["z"], "silu"),
        node("Conv", ["z", "v", "c"], ["out"], "two"),
    ]
    model = net(nodes, {"x": (1, 1, 24, 24)}, ["out"], weights, opset=opset)
    images = []
    for seed in range(3):
        image = np.full((1, 1, 24, 24), 5.3, np.float32)
        image[..., 8:12, 6:16] = normal(4, 10, seed=seed, reach=6)
        images.append({"x": image})
    return model, images


def _mean_errors(model: onnx.ModelProto, quantized: ir.Model, images: list[dict[str, Array]]) -> Array:
    """Mean of (fp32 - Q/DQ) of what convolution `two` makes before it is rounded, by channel."""
    tapped = onnx.load_from_string(serialize_model(quantized))
    source = next(item.output[0] for item in tapped.graph.node if item.name == "two")
    if source not in {value.name for value in tapped.graph.output}:
        tapped.graph.output.append(onnx.ValueInfoProto(name=source))
    errors = [run_onnx(model, image)["out"] - run_onnx(tapped, image)[source] for image in images]
    return np.asarray(np.mean(errors, axis=(0, 1, 3, 4)))


@pytest.mark.parametrize("opset", [17, 18])
@pytest.mark.parametrize("scheme", [NATIVE_U8, PORTABLE], ids=lambda scheme: scheme.name)
def test_the_mean_error_of_the_last_convolution_is_gone(scheme: Scheme, opset: int) -> None:
    model, images = _edges_on_paper(opset)
    component, record = as_component(model), record_for(model, images[0])
    form = QdqForm(scheme, "int32")
    plain = insert_qdq(component, record, form=form)
    floats = measure_means(component.model, images)
    mended = insert_corrected_qdq(component, record, floats, form=form)
    before = np.abs(_mean_errors(model, plain.component.model, images))
    after = np.abs(_mean_errors(model, mended.component.model, images))
    assert after.max() < 0.02 * before.max()  # what is left is the rounding of the bias itself


def test_scales_and_integer_weights_stay() -> None:
    model, images = _edges_on_paper(17)
    component, record = as_component(model), record_for(model, images[0])
    form = QdqForm(PORTABLE)
    plain = insert_qdq(component, record, form=form)
    floats = measure_means(component.model, images)
    mended = insert_corrected_qdq(component, record, floats, form=form)
    assert mended.scales == plain.scales
    kept = [
        {
            tensor.name: numpy_helper.to_array(tensor).tobytes()
            for tensor in onnx.load_from_string(serialize_model(one.component.model)).graph.initializer
            if tensor.data_type == onnx.TensorProto.INT8
        }
        for one in (plain, mended)
    ]
    assert kept[0] == kept[1]


def test_the_float_model_stays_unchanged_and_two_runs_give_the_same_bytes() -> None:
    model, images = _edges_on_paper(17)
    component, record = as_component(model), record_for(model, images[0])
    before = serialize_model(component.model)
    made = []
    for _ in range(2):
        floats = measure_means(component.model, images)
        mended = insert_corrected_qdq(component, record, floats, form=QdqForm(PORTABLE))
        made.append(serialize_model(mended.component.model))
    assert serialize_model(component.model) == before
    assert made[0] == made[1]


def test_without_samples_nothing_is_corrected() -> None:
    model, images = _edges_on_paper(17)
    component, record = as_component(model), record_for(model, images[0])
    quantized = insert_qdq(component, record, form=QdqForm(PORTABLE)).component
    assert measure_errors(measure_means(component.model, ()), quantized.model) == {}


def test_the_first_convolutions_error_is_that_of_its_own_rounding() -> None:
    model, images = _edges_on_paper(17)
    component, record = as_component(model), record_for(model, images[0])
    quantized = insert_qdq(component, record, form=QdqForm(PORTABLE)).component
    found = measure_errors(measure_means(component.model, images), quantized.model)
    tapped = onnx.load_from_string(serialize_model(quantized.model))
    source = next(item.output[0] for item in tapped.graph.node if item.name == "one")
    tapped.graph.output.append(onnx.ValueInfoProto(name=source))
    floats = onnx.ModelProto()
    floats.CopyFrom(model)
    floats.graph.output.append(onnx.ValueInfoProto(name="y"))
    wanted = np.mean(
        [run_onnx(floats, image)["y"] - run_onnx(tapped, image)[source] for image in images],
        axis=(0, 1, 3, 4),
    )
    np.testing.assert_allclose(found["one"], wanted, atol=1e-5)


@pytest.mark.parametrize(
    ("size", "count", "places"),
    [
        (1, 0, []),
        (1, 1, [0]),
        (1, 3, [0, 1, 2]),
        (1, 4, [0, 1, 2, 3]),
        (1, 100, [0, 25, 50, 75]),
        (1 << 20, 1, [0]),
        (1 << 20, 10, [0, 5]),
    ],
)
def test_the_samples_taken_are_few_and_spread_evenly(size: int, count: int, places: list[int]) -> None:
    everything = [Sample(str(index), {"x": np.full(size, index, np.float32)}) for index in range(count)]
    samples = Samples("digest", "real", "", count, lambda: iter(everything))
    assert [int(feeds["x"][0]) for feeds in pick_feeds(samples)] == places
