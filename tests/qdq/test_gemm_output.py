"""Whether the results of matrix products are quantized is the target's to say; the last ones never are."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest

from edgekit._qdq import QdqForm, Steering, insert_qdq, list_candidates
from edgekit._schemes import PORTABLE
from tests.models import run_onnx
from tests.qdq.qdq_nets import (
    all_tensors,
    as_component,
    fake,
    net,
    node,
    normal,
    portable_scale,
    record_of,
    simulate,
    sqnr,
)

if TYPE_CHECKING:
    from edgekit._schemes import ConvOutput

WEIGHTS = {
    "w1": normal(8, 12, seed=1),
    "b1": normal(12, seed=2),
    "w2": normal(12, 6, seed=3),
    "b2": normal(6, seed=4),
}
FEEDS = {"x": normal(1, 5, 8)}


def feed_forward(*, activation: str = "Softplus", bias: str = "b1") -> onnx.ModelProto:
    """x -> MatMul + bias -> activation (Softplus clamps nothing) -> MatMul + bias."""
    nodes = [
        node("MatMul", ["x", "w1"], ["m1"], "first"),
        node("Add", ["m1", bias], ["s1"], "bias"),
        node(activation, ["s1"], ["a1"], "act"),
        node("MatMul", ["a1", "w2"], ["m2"], "last"),
        node("Add", ["m2", "b2"], ["y"], "last_bias"),
    ]
    return net(nodes, {"x": (1, 5, 8)}, ["y"], WEIGHTS)


def quantized(
    model: onnx.ModelProto, *, int8: bool, conv_output: ConvOutput = "int8", **pinned: Any
) -> set[str]:
    record = record_of(all_tensors(model, FEEDS))
    form = QdqForm(PORTABLE, conv_output=conv_output, gemm_output="int8" if int8 else "float")
    steering = Steering(**pinned)
    return set(insert_qdq(as_component(model), record, form=form, steering=steering).scales.tensors)


@pytest.mark.parametrize("conv_output", ["int8", "float"])
def test_an_inner_product_is_quantized_behind_its_bias_and_the_last_one_stays_float(
    conv_output: ConvOutput,
) -> None:
    """Whatever becomes of the results of convolutions."""
    assert quantized(feed_forward(), int8=True, conv_output=conv_output) == {"x", "s1", "a1"}
    assert quantized(feed_forward(), int8=False, conv_output=conv_output) == {"x", "a1"}


def test_a_relu_behind_the_bias_takes_the_scale() -> None:
    assert quantized(feed_forward(activation="Relu"), int8=True) == {"x", "a1"}


def test_the_sums_are_observed_by_calibration_whatever_the_form() -> None:
    assert {"x", "s1", "a1"} <= set(list_candidates(as_component(feed_forward()).model.graph))


def test_the_graph_computes_what_the_scales_say() -> None:
    model = feed_forward()
    tensors = all_tensors(model, FEEDS)
    form = QdqForm(PORTABLE, gemm_output="int8")
    result = insert_qdq(as_component(model), record_of(tensors), form=form)
    scales = {name: portable_scale(float(np.abs(tensors[name]).max())) for name in ("x", "s1", "a1")}
    assert {name: params.scale for name, params in result.scales.tensors.items()} == scales
    columns = {
        name: fake(weight, np.vectorize(portable_scale)(np.abs(weight).max(0)).astype(np.float32))
        for name, weight in WEIGHTS.items()
        if name.startswith("w")
    }
    expected = simulate(model, FEEDS, scales, columns)["y"]
    assert sqnr(expected, run_onnx(result.component.model, FEEDS)["y"]) > 60


def test_a_product_of_two_computed_matrices_ends_in_int8_where_another_product_follows() -> None:
    nodes = [
        node("MatMul", ["x", "k"], ["scores"], "scores"),
        node("Softmax", ["scores"], ["p"], "softmax", axis=-1),
        node("MatMul", ["p", "v"], ["y"], "context"),
    ]
    model = net(nodes, {"x": (1, 4, 8), "k": (1, 8, 4), "v": (1, 4, 8)}, ["y"])
    feeds = {"x": normal(1, 4, 8), "k": normal(1, 8, 4, seed=1), "v": normal(1, 4, 8, seed=2)}
    record = record_of(all_tensors(model, feeds))
    form = QdqForm(PORTABLE, gemm_output="int8")
    names = set(insert_qdq(as_component(model), record, form=form).scales.tensors)
    assert names == {"x", "k", "scores", "p", "v"}


def test_an_add_that_is_no_bias_a_column_stays_a_part_of_its_chain() -> None:
    model = feed_forward()
    model.graph.initializer.append(onnx.numpy_helper.from_array(normal(5, 1, seed=6), "rows"))
    model.graph.node[1].input[1] = "rows"
    assert quantized(model, int8=True) == {"x", "m1", "a1"}


@pytest.mark.parametrize(("name", "expected"), [("first", {"a1"}), ("act", {"x", "s1", "a1"})])
def test_what_the_user_keeps_float_stays_float(name: str, expected: set[str]) -> None:
    assert quantized(feed_forward(), int8=True, float_nodes=frozenset({name})) == expected
