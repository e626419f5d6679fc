"""Each placement rule on a small net: where Q/DQ stands, and that it computes what numpy does by hand."""

from __future__ import annotations

import numpy as np
import onnx
import pytest

from edgekit._qdq import QdqForm, insert_qdq
from edgekit._schemes import PORTABLE
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.placement_cases import B4, CASES, W1, Case, conv
from tests.qdq.qdq_nets import (
    all_tensors,
    as_component,
    channel_scales,
    fake,
    initializers,
    net,
    node,
    normal,
    portable_scale,
    quantized_nodes,
    record_of,
    simulate,
)


@pytest.mark.parametrize("bias", ["float", "int32"])
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_rule_holds_and_the_graph_computes_what_numpy_does_by_hand(case: Case, bias: str) -> None:
    model = net(case.nodes, {"x": case.x}, case.outputs, case.parameters, opset=case.opset)
    feeds = {"x": normal(*case.x, seed=9, reach=2.0)}
    tensors = all_tensors(model, feeds)
    form = QdqForm(PORTABLE, "float" if bias == "float" else "int32")
    result = insert_qdq(as_component(model), record_of(tensors), form=form)
    made = onnx.load_from_string(serialize_model(result.component.model))
    onnx.checker.check_model(made, full_check=True)

    scales = {
        name: portable_scale(max(float(np.abs(tensors[other]).max()) for other in group))
        for group in case.groups
        for name in group
    }
    found = {name: params.scale for name, params in result.scales.tensors.items()}
    for name in case.narrowed:
        # A quarter of a step of the chain's result may be cut off either end of what it reads.
        assert 0.95 * scales[name] <= found[name] <= scales[name]
        scales[name] = found[name]
    assert found == scales
    assert {params.zero_point for params in result.scales.tensors.values()} <= {0}

    parameters = {name: np.asarray(values) for name, values in case.parameters.items()}
    by_channel = {name: channel_scales(parameters[name], axis) for name, axis in case.weights.items()}
    for name, (data, weight) in case.biases.items():
        units = np.resize((np.float64(scales[data]) * by_channel[weight]).ravel(), by_channel[weight].size)
        parameters[name] = (np.rint(parameters[name] / units) * units).astype(np.float32)
    parameters |= {name: fake(parameters[name], scale) for name, scale in by_channel.items()}
    expected = simulate(model, feeds, scales, parameters)
    got = run_onnx(made, feeds)
    assert list(got) == list(case.outputs)
    for name, values in expected.items():
        # Sums of floats are rounded in another order: a tie may fall to the other side by one step.
        off = np.abs(got[name] - values)
        step = scales.get(name, 0.0)
        assert np.all(off <= step + 1e-4 * np.abs(values).max()), name
        assert np.mean(off > 1e-4 * np.abs(values).max()) <= 0.02, name


def test_shared_weights_are_stored_once_and_shared_biases_once_a_scale() -> None:
    nodes = [
        node("Conv", ["x", "w", "b"], ["a"]),
        node("Relu", ["a"], ["r"]),
        node("Conv", ["r", "w", "b"], ["y"]),
    ]
    model = net(nodes, {"x": (1, 4, 6, 6)}, ["y"], {"w": W1, "b": B4})
    feeds = {"x": normal(1, 4, 6, 6)}
    result = insert_qdq(as_component(model), record_of(all_tensors(model, feeds)), form=QdqForm(PORTABLE))
    made = onnx.load_from_string(serialize_model(result.component.model))
    stored = [array for array in initializers(made).values() if array.dtype == np.int8 and array.ndim == 4]
    assert len(stored) == 1
    convs = [item for item in made.graph.node if item.op_type == "Conv"]
    assert convs[0].input[1] == convs[1].input[1]
    assert convs[0].input[2] != convs[1].input[2]  # each in units of its own input's scale
    assert "w" not in initializers(made)


def test_a_symmetric_matrix_read_along_both_axes_gets_a_dq_for_each() -> None:
    square = normal(4, 4)
    square = square + square.T
    nodes = [node("MatMul", ["x", "w"], ["a"], "mm"), node("Gemm", ["a", "w"], ["y"], "fc", transB=1)]
    model = net(nodes, {"x": (2, 4)}, ["y"], {"w": square})
    feeds = {"x": normal(2, 4)}
    result = insert_qdq(as_component(model), record_of(all_tensors(model, feeds)), form=QdqForm(PORTABLE))
    made = onnx.load_from_string(serialize_model(result.component.model))
    by_output = {name: item for item in made.graph.node for name in item.output}
    axes = {
        item.op_type: next(attribute.i for attribute in by_output[item.input[1]].attribute)
        for item in made.graph.node
        if item.op_type in ("MatMul", "Gemm")
    }
    assert axes == {"MatMul": 1, "Gemm": 0}


def test_one_q_is_the_only_reader_of_an_int8_nodes_result() -> None:
    nodes = [conv("x", "a"), node("Sigmoid", ["a"], ["f"]), node("Softmax", ["a"], ["g"]), conv("a", "y")]
    model = net(nodes, {"x": (1, 4, 6, 6)}, ["f", "g", "y"], {"w1": W1})
    feeds = {"x": normal(1, 4, 6, 6)}
    result = insert_qdq(as_component(model), record_of(all_tensors(model, feeds)), form=QdqForm(PORTABLE))
    made = onnx.load_from_string(serialize_model(result.component.model))
    assert [item.op_type for item in made.graph.node if "a" in item.input] == ["QuantizeLinear"]
    assert "a" in quantized_nodes(made)
