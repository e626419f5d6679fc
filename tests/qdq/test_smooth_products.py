"""Smoothed activations in front of matrix products: the same floats bit for bit, and int8 nearer to them."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import pytest

from edgekit._qdq import QdqForm, equalize_channels, insert_qdq, list_equalized
from edgekit._schemes import NATIVE_U8, PORTABLE, Scheme
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, as_component, f32, net, node, normal, record_of, sqnr

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Component

    Arrays = dict[str, np.ndarray]

SHAPE = (1, 6, 16)
LOUD = np.ones(16, np.float32)
LOUD[3], LOUD[11] = 24.0, 60.0
WEIGHTS: Arrays = {
    "gamma": normal(16, seed=1) * LOUD,
    "beta": normal(16, seed=2, reach=0.2) * LOUD,
    "a": normal(16, 24, seed=3) / LOUD[:, None] ** 0.3,
    "b": normal(16, 8, seed=4),
    "turned": normal(8, 16, seed=5),
    "bias": normal(8, seed=6),
    "flat": np.array([6, 16]),
    "half": f32(0.5),
    "two": np.array([1], np.int64),
}
NORM = node("LayerNormalization", ["x", "gamma", "beta"], ["n"], "norm")
TAIL = [node("LayerNormalization", ["x", "one"], ["r"]), node("Mul", ["r", "gamma"], ["m"])]
PRODUCT = node("MatMul", ["n", "a"], ["y"], "product")

CASES = {
    "a norm and one product": ([NORM, PRODUCT], ["y"]),
    "two products": (
        [NORM, node("MatMul", ["n", "a"], ["y"]), node("MatMul", ["n", "b"], ["z"])],
        ["y", "z"],
    ),
    "others read it too": ([NORM, PRODUCT, node("Add", ["n", "x"], ["z"])], ["y", "z"]),
    "a Mul and an Add in place of the norm's own": (
        [*TAIL, node("Add", ["m", "beta"], ["n"]), PRODUCT],
        ["y"],
    ),
    "a Gemm with turned weights": (
        [
            node("Reshape", ["x", "flat"], ["f"]),
            node("LayerNormalization", ["f", "gamma", "beta"], ["n"]),
            node("Gemm", ["n", "turned", "bias"], ["y"], transB=1, alpha=0.5),
        ],
        ["y"],
    ),
}


def build(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[onnx.ModelProto, Component, Arrays]:
    used = {name for item in nodes for name in item.input}
    held = {**WEIGHTS, "one": np.ones(16, np.float32)}
    model = net(nodes, {"x": SHAPE}, outputs, {name: held[name] for name in held if name in used})
    return model, as_component(model), {"x": normal(*SHAPE, seed=7, reach=3)}


def smoothed(
    nodes: Sequence[onnx.NodeProto], outputs: Sequence[str]
) -> tuple[onnx.ModelProto, onnx.ModelProto, Arrays]:
    model, component, feeds = build(nodes, outputs)
    record = record_of(all_tensors(model, feeds), list_equalized(component.model.graph))
    equal, _ = equalize_channels(component, record)
    return model, onnx.load_from_string(serialize_model(equal.model)), feeds


@pytest.mark.parametrize("name", CASES)
def test_every_output_is_bit_for_bit_what_it_was(name: str) -> None:
    before, after, feeds = smoothed(*CASES[name])
    names = {made for item in after.graph.node for made in item.output}
    assert "n/equalized" in names
    expected, found = run_onnx(before, feeds), run_onnx(after, feeds)
    for output in CASES[name][1]:
        np.testing.assert_array_equal(found[output], expected[output])


def test_loud_channels_come_down_by_powers_of_two_and_rows_of_weights_go_up() -> None:
    before, after, feeds = smoothed(*CASES["two products"])
    plain = np.abs(all_tensors(before, feeds)["n"]).reshape(-1, 16).max(axis=0)
    divided = np.abs(all_tensors(after, feeds)["n/equalized"]).reshape(-1, 16).max(axis=0)
    factors = plain / divided
    np.testing.assert_array_equal(np.log2(factors), np.rint(np.log2(factors)))
    assert divided.max() / np.median(divided) < plain.max() / np.median(plain) / 3
    stored = {item.name: onnx.numpy_helper.to_array(item) for item in after.graph.initializer}
    for name, output in (("a", "y"), ("b", "z")):
        np.testing.assert_array_equal(stored[f"{output}/weight"], WEIGHTS[name] * factors[:, None])


@pytest.mark.parametrize("scheme", [PORTABLE, NATIVE_U8])
def test_int8_gains_by_it(scheme: Scheme) -> None:
    nodes, outputs = CASES["two products"]
    model, component, feeds = build(nodes, outputs)
    axes = list_equalized(component.model.graph)
    full = record_of(all_tensors(model, feeds), axes)
    expected = run_onnx(model, feeds)
    found = {}
    for kind, (given, record) in {
        "plain": (component, full),
        "smooth": equalize_channels(component, full),
    }.items():
        result = insert_qdq(given, record, form=QdqForm(scheme))
        got = run_onnx(onnx.load_from_string(serialize_model(result.component.model)), feeds)
        found[kind] = [sqnr(expected[name], got[name]) for name in outputs]
    assert min(np.subtract(found["smooth"], found["plain"])) > 3


UNTOUCHED = {
    "a graph output": ([NORM, PRODUCT], ["y", "n"]),
    "weights that another node reads": (
        [NORM, PRODUCT, node("Mul", ["a", "half"], ["z"])],
        ["y", "z"],
    ),
    "a norm over two axes": (
        [
            node("LayerNormalization", ["x", "wide"], ["n"], axis=-2),
            PRODUCT,
        ],
        ["y"],
    ),
    "no constants in front": ([node("Abs", ["x"], ["n"]), PRODUCT], ["y"]),
    "a product of the tensor with itself": (
        [NORM, node("Transpose", ["n"], ["t"], perm=[0, 2, 1]), node("MatMul", ["n", "t"], ["y"])],
        ["y"],
    ),
}


@pytest.mark.parametrize("name", UNTOUCHED)
def test_nothing_is_changed_behind(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "wide", normal(6, 16, seed=8) * LOUD)
    before, after, _ = smoothed(*UNTOUCHED[name])
    assert [item.output for item in after.graph.node] == [item.output for item in before.graph.node]


def test_even_channels_are_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(WEIGHTS, "gamma", np.ones(16, np.float32))
    monkeypatch.setitem(WEIGHTS, "beta", np.zeros(16, np.float32))
    monkeypatch.setitem(WEIGHTS, "a", normal(16, 24, seed=3))
    before, after, _ = smoothed(*CASES["a norm and one product"])
    assert [item.output for item in after.graph.node] == [item.output for item in before.graph.node]
