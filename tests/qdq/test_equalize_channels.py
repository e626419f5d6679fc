"""Equalized channels: the same in float, equal reach in the graph, and nothing where it would not be so."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from edgekit._qdq import QdqForm, equalize_channels, insert_qdq, list_candidates
from edgekit._schemes import PORTABLE
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.qdq_nets import (
    all_tensors,
    as_component,
    as_range,
    f32,
    net,
    node,
    normal,
    record_for,
    record_of,
    sqnr,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Component

X = (2, 3, 8, 8)
UNEQUAL = f32([0.2, 1, 30, 0.3]).reshape(4, 1, 1, 1)
W = normal(4, 3, 3, 3, seed=1) * UNEQUAL
B = normal(4, seed=2) * UNEQUAL.ravel()
DEPTHWISE = normal(4, 1, 3, 3, seed=3)
HEAD = normal(5, 4, 1, 1, seed=4)
WEIGHTS = {"w": W, "b": B, "d": DEPTHWISE, "h": HEAD, "lo": f32(0), "hi": f32(6), "three": f32(3)}

CONV = node("Conv", ["x", "w", "b"], ["c"], "conv")
SWISH = [
    node("Add", ["c", "three"], ["h1"]),
    node("Clip", ["h1", "lo", "hi"], ["h2"]),
    node("Mul", ["c", "h2"], ["h3"]),
    node("Div", ["h3", "hi"], ["s"]),
]


def last(source: str, *, depthwise: bool = False) -> onnx.NodeProto:
    if depthwise:
        return node("Conv", [source, "d"], ["y"], "last", group=4)
    return node("Conv", [source, "h"], ["y"], "last")


def equalized(
    nodes: Sequence[onnx.NodeProto], *, outputs: Sequence[str] = ("y",), shape: Sequence[int | str] = X
) -> tuple[onnx.ModelProto, Component, Component, dict[str, np.ndarray]]:
    used = {name for item in nodes for name in item.input}
    weights = {name: array for name, array in WEIGHTS.items() if name in used}
    model = net(nodes, {"x": shape}, outputs, weights)
    feeds = {"x": normal(*X)}
    component = as_component(model)
    return model, component, equalize_channels(component, record_for(model, feeds))[0], feeds


def reaches(component: Component, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Per-channel largest magnitudes of every tensor of rank 4."""
    model = onnx.load_from_string(serialize_model(component.model))
    tensors = all_tensors(model, feeds)
    return {
        name: np.abs(values).max(axis=(0, 2, 3))
        for name, values in tensors.items()
        if getattr(values, "ndim", 0) == 4
    }


CASES = {
    "conv, relu, depthwise": ([CONV, node("Relu", ["c"], ["r"]), last("r", depthwise=True)], "r/equalized"),
    "conv, depthwise": ([CONV, last("c", depthwise=True)], "c/equalized"),
    "conv, leakyrelu, depthwise": (
        [CONV, node("LeakyRelu", ["c"], ["r"]), last("r", depthwise=True)],
        "r/equalized",
    ),
    "conv, silu, conv": (
        [CONV, node("Sigmoid", ["c"], ["g"]), node("Mul", ["c", "g"], ["s"]), last("s")],
        None,
    ),
    "conv, hard swish, conv": ([CONV, *SWISH, last("s")], None),
    "conv, hard swish, depthwise": ([CONV, *SWISH, last("s", depthwise=True)], None),
    "conv, HardSwish, depthwise": (
        [CONV, node("HardSwish", ["c"], ["s"]), last("s", depthwise=True)],
        None,
    ),
    "two depthwise readers": (
        [
            CONV,
            node("Relu", ["c"], ["r"]),
            node("Conv", ["r", "d"], ["y1"], "one", group=4),
            node("Conv", ["r", "d"], ["y2"], "two", group=4),
            node("Add", ["y1", "y2"], ["y"]),
        ],
        "r/equalized",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_the_float_outputs_stay_and_the_channels_of_the_edge_reach_alike(name: str) -> None:
    nodes, edge = CASES[name]
    model, component, result, feeds = equalized(nodes)
    assert result.digest != component.digest
    expected, got = run_onnx(model, feeds), run_onnx(result.model, feeds)
    np.testing.assert_allclose(got["y"], expected["y"], rtol=1e-5, atol=1e-5 * np.abs(expected["y"]).max())
    if edge is not None:
        found = reaches(result, feeds)[edge]
        np.testing.assert_allclose(found, found.max(), rtol=1e-5)


def test_an_edge_into_an_activation_reaches_alike_over_what_the_activation_needs() -> None:
    """Sigmoid saturates: of a channel that reaches 60, no more than about 8 counts."""
    _, _, result, feeds = equalized(CASES["conv, silu, conv"][0])
    before = reaches(as_component(equalized(CASES["conv, silu, conv"][0])[0]), feeds)["c"]
    after = reaches(result, feeds)["c/equalized"]
    assert before.max() / before.min() > 100
    assert after.max() / after.min() < 3


RELU6 = node("Clip", ["c", "lo", "hi"], ["r"])
REFUSED = {
    "another reader of the edge": (
        [
            CONV,
            node("Relu", ["c"], ["r"]),
            node("Conv", ["r", "d"], ["a"], "one", group=4, pads=[1] * 4),
            node("Add", ["a", "r"], ["y"]),
        ],
        ["y"],
    ),
    "another reader of what Relu reads": (
        [
            CONV,
            node("Relu", ["c"], ["r"]),
            node("Conv", ["r", "d"], ["a"], "one", group=4, pads=[1] * 4),
            node("Add", ["a", "c"], ["y"]),
        ],
        ["y"],
    ),
    "a graph output": ([CONV, last("c", depthwise=True)], ["c", "y"]),
    "a graph output behind Relu": (
        [CONV, node("Relu", ["c"], ["r"]), last("r", depthwise=True)],
        ["r", "y"],
    ),
    "a graph output in front of Relu": (
        [CONV, node("Relu", ["c"], ["r"]), last("r", depthwise=True)],
        ["c", "y"],
    ),
    "a Relu6 clamp": ([CONV, RELU6, last("r", depthwise=True)], ["y"]),
    "a conv over all channels": ([CONV, node("Relu", ["c"], ["r"]), last("r")], ["y"]),
}


@pytest.mark.parametrize("name", REFUSED)
def test_nothing_is_scaled_behind(name: str) -> None:
    nodes, outputs = REFUSED[name]
    _, component, result, _ = equalized(nodes, outputs=outputs)
    assert serialize_model(result.model) == serialize_model(component.model)


def test_a_foreign_conv_of_the_same_form_is_no_depthwise_convolution() -> None:
    model = net([CONV], {"x": X}, ["c"], {"w": W, "b": B, "d": DEPTHWISE})
    model.graph.node.append(node("Conv", ["c", "d"], ["y"], "theirs", group=4, domain="com.example"))
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, (2, 4, 4, 4)))
    component = as_component(model)
    result, _ = equalize_channels(component, record_of({"c": normal(2, 4, 4, 4), "x": normal(*X)}))
    assert serialize_model(result.model) == serialize_model(component.model)


def test_dynamic_sizes_are_no_hindrance() -> None:
    nodes, edge = CASES["conv, relu, depthwise"]
    model, _, result, feeds = equalized(nodes, shape=["n", 3, "h", "w"])
    assert edge is not None
    found = reaches(result, feeds)[edge]
    np.testing.assert_allclose(found, found.max(), rtol=1e-5)
    other = {"x": normal(1, 3, 11, 5, seed=8)}
    np.testing.assert_allclose(
        run_onnx(result.model, other)["y"], run_onnx(model, other)["y"], rtol=1e-4, atol=1e-4
    )


@pytest.mark.parametrize("name", CASES)
def test_the_component_given_stays_and_the_digest_is_the_same_each_time(name: str) -> None:
    nodes, _ = CASES[name]
    model, component, result, feeds = equalized(nodes)
    before = serialize_model(as_component(model).model)
    assert serialize_model(component.model) == before
    again, _ = equalize_channels(component, record_for(model, feeds))
    assert again.digest == result.digest
    assert serialize_model(again.model) == serialize_model(result.model)


def test_a_channel_that_the_samples_leave_silent_is_not_blown_up() -> None:
    """What wakes up later must not make the whole tensor's scale a thousand times coarser."""
    nodes, _ = CASES["conv, relu, depthwise"]
    weights = {"w": W / UNEQUAL, "b": f32([0, 0, 0, -100]), "d": DEPTHWISE}
    model = net(nodes, {"x": X}, ["y"], weights)
    result, _ = equalize_channels(as_component(model), record_for(model, {"x": normal(*X)}))
    awake = {"x": normal(*X) * np.float32(100)}
    found = reaches(result, awake)["r/equalized"]
    assert found[3] > 0
    assert found[3] < 10 * found[:3].max()


def test_a_weight_shared_with_another_conv_stays_for_the_other() -> None:
    nodes = [
        CONV,
        node("Relu", ["c"], ["r"]),
        last("r", depthwise=True),
        node("Conv", ["x", "w", "b"], ["z"], "other"),
    ]
    model, _, result, feeds = equalized(nodes, outputs=["y", "z"])
    expected, got = run_onnx(model, feeds), run_onnx(result.model, feeds)
    for name in ("y", "z"):
        np.testing.assert_allclose(got[name], expected[name], rtol=1e-5, atol=1e-4)


@pytest.mark.parametrize("name", CASES)
def test_the_record_that_comes_with_it_holds_the_extremes_of_the_equalized_tensors(name: str) -> None:
    nodes, _ = CASES[name]
    model, component, _, feeds = equalized(nodes)
    result, record = equalize_channels(component, record_for(model, feeds))
    assert record.model_digest == result.digest
    tensors = all_tensors(onnx.load_from_string(serialize_model(result.model)), feeds)
    renamed = [found for found in tensors if found.endswith("/equalized")]
    assert renamed
    for found in set(record.ranges) & set(tensors):
        seen, wanted = record.ranges[found], as_range(tensors[found])
        span = wanted.high - wanted.low
        assert seen.low == pytest.approx(wanted.low, abs=1e-5 * span), found
        assert seen.high == pytest.approx(wanted.high, abs=1e-5 * span), found
        assert seen.threshold == pytest.approx(wanted.threshold, abs=1e-5 * span), found
    needed = set(list_candidates(result.model.graph))
    assert needed <= set(record.ranges)


@pytest.mark.parametrize("name", CASES)
def test_int8_gains_by_it(name: str) -> None:
    nodes, _ = CASES[name]
    model, component, _, feeds = equalized(nodes)
    record = record_for(model, feeds)
    plain = insert_qdq(component, record, form=QdqForm(PORTABLE))
    better = insert_qdq(*equalize_channels(component, record), form=QdqForm(PORTABLE))
    truth = run_onnx(model, feeds)["y"]
    before, after = (sqnr(truth, run_onnx(result.component.model, feeds)["y"]) for result in (plain, better))
    assert after > min(before, 30) - 0.5


def test_a_weight_that_two_convolutions_read_stays_one() -> None:
    """Divided for each of them it would lie in the file twice."""
    alone = [CONV, node("Relu", ["c"], ["r"]), node("Conv", ["r", "d"], ["y"], "last", group=4)]
    _, _, made, _ = equalized(alone)
    assert any(name.endswith("/equalized") for name in tensor_names(made))
    other = node("Conv", ["x", "w", "b"], ["z"], "other", dilations=[2, 2])
    _, before, after, _ = equalized([*alone, other], outputs=("y", "z"))
    assert tensor_names(after) == tensor_names(before)
    kept = {value.name for value in after.model.graph.initializers.values() if value.uses()}
    assert kept == {"w", "b", "d"}


def tensor_names(component: Component) -> set[str]:
    return {str(value.name) for made in component.model.graph for value in made.outputs}
