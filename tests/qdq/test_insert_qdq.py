"""What insert_qdq writes: native uint8, dead channels, names, steering, and what it leaves alone."""

from __future__ import annotations

import time
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._qdq import QdqForm, Steering, insert_qdq, list_candidates
from edgekit._schemes import NATIVE_U8, PORTABLE
from edgekit._values import Component
from edgekit.errors import ModelError, UsageError
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.placement_cases import CASES, W1, Case, conv
from tests.qdq.qdq_nets import (
    all_tensors,
    as_component,
    as_range,
    f32,
    initializers,
    net,
    node,
    normal,
    quantized_nodes,
    record_for,
    record_of,
    sqnr,
)

if TYPE_CHECKING:
    from edgekit._qdq import QdqResult

X = (1, 4, 6, 6)
FORMS = [QdqForm(PORTABLE, "float"), QdqForm(PORTABLE, "int32"), QdqForm(NATIVE_U8, "int32")]


def loaded(result: QdqResult) -> onnx.ModelProto:
    made = onnx.load_from_string(serialize_model(result.component.model))
    onnx.checker.check_model(made, full_check=True)
    return made


def two_convs() -> onnx.ModelProto:
    nodes = [conv("x", "a"), node("Relu", ["a"], ["r"], "relu"), conv("r", "y")]
    return net(nodes, {"x": X}, ["y"], {"w1": W1})


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_native_u8_holds_weights_around_128_and_zero_points_in_range(case: Case) -> None:
    model = net(case.nodes, {"x": case.x}, case.outputs, case.parameters, opset=case.opset)
    feeds = {"x": normal(*case.x, seed=9, reach=2.0) + np.float32(0.5)}
    record = record_of(all_tensors(model, feeds))
    component = as_component(model)
    portable = initializers(loaded(insert_qdq(component, record, form=QdqForm(PORTABLE))))
    result = insert_qdq(component, record, form=QdqForm(NATIVE_U8, "int32"))
    made = loaded(result)
    values = initializers(made)
    assert all(
        params.dtype == "uint8" and 0 <= params.zero_point <= 255 for params in result.scales.tensors.values()
    )
    kinds = {str(array.dtype) for name, array in values.items() if name.endswith("zero_point")}
    assert kinds <= {"uint8", "int32"}
    for name in case.weights:
        codes = values[f"{name}/integers"].astype(np.int32) - 128
        assert codes.min() >= -127
        # The portable scale is rounded up to fp16, so codes differ by a rounding at most.
        assert np.abs(codes - portable[f"{name}/integers"]).max() <= 1
        zero = values[f"{name}/zero_point"]
        assert zero.dtype == np.uint8
        assert np.all(zero == 128)
    expected, got = run_onnx(model, feeds), run_onnx(made, feeds)
    for name in case.outputs:
        assert sqnr(expected[name], got[name]) > 20, name


@pytest.mark.parametrize("form", FORMS, ids=["portable float", "portable int32", "native"])
def test_a_dead_channel_with_a_large_bias_keeps_its_bias(form: QdqForm) -> None:
    weight = W1.copy()
    weight[2] = 1e-7
    bias = f32([0.3, -0.2, 1.5, 0.0])
    model = net([node("Conv", ["x", "w", "b"], ["y"], "c")], {"x": X}, ["y"], {"w": weight, "b": bias})
    feeds = {"x": normal(*X, reach=1e-4)}
    made = loaded(insert_qdq(as_component(model), record_for(model, feeds), form=form))
    assert run_onnx(made, feeds)["y"][0, 2].mean() == pytest.approx(1.5, abs=0.02)
    integers = [array for array in initializers(made).values() if array.dtype == np.int32 and array.size == 4]
    for array in integers:
        assert np.abs(array.astype(np.int64)).max() < 2**31 - 1


def test_a_float_bias_is_a_multiple_of_sx_times_sw_and_has_no_dq() -> None:
    nodes = [node("Conv", ["x", "w", "b"], ["y"], "c")]
    model = net(nodes, {"x": X}, ["y"], {"w": W1, "b": normal(4)})
    record = record_for(model, {"x": normal(*X)})
    result = insert_qdq(as_component(model), record, form=QdqForm(PORTABLE, "float"))
    made = loaded(result)
    values = initializers(made)
    (item,) = [item for item in made.graph.node if item.op_type == "Conv"]
    bias = values[item.input[2]].astype(np.float64)  # an initializer: no DQ stands before it
    multiples = bias / (result.scales.tensors["x"].scale * values["w/scale"].astype(np.float64))
    np.testing.assert_allclose(multiples, np.rint(multiples), rtol=1e-6, atol=1e-6)
    assert np.abs(bias - normal(4)).max() <= 0.51 * (bias / multiples).max()


@pytest.mark.parametrize("form", FORMS, ids=["portable float", "portable int32", "native"])
def test_an_int32_bias_has_the_very_scale_its_runtime_multiplies(form: QdqForm) -> None:
    nodes = [node("Gemm", ["x", "w", "b"], ["y"], "c")]
    model = net(nodes, {"x": (2, 6)}, ["y"], {"w": normal(6, 3), "b": f32(0.4)})
    result = insert_qdq(as_component(model), record_for(model, {"x": normal(2, 6)}), form=form)
    values = initializers(loaded(result))
    if form.bias == "float":
        assert values["c/bias"].shape == (3,)
        return
    expected = np.float32(result.scales.tensors["x"].scale) * values["w/scale"]
    np.testing.assert_array_equal(values["c/bias/scale"], expected)
    assert values["c/bias/integers"].dtype == np.int32


@pytest.mark.parametrize("broken", [np.nan, np.inf])
@pytest.mark.parametrize("parameter", ["w", "b"])
def test_a_parameter_that_is_not_finite_is_refused_by_name(broken: float, parameter: str) -> None:
    weights = {"w": W1.copy(), "b": normal(4)}
    model = net([node("Conv", ["x", "w", "b"], ["y"], "first")], {"x": X}, ["y"], weights)
    record = record_for(model, {"x": normal(*X)})
    weights[parameter].flat[0] = broken
    model = net([node("Conv", ["x", "w", "b"], ["y"], "first")], {"x": X}, ["y"], weights)
    with pytest.raises(ModelError, match=r"Conv 'first'.*--float 'first'"):
        insert_qdq(as_component(model), record, form=QdqForm(PORTABLE))


def test_a_record_that_lacks_a_tensor_names_it() -> None:
    model = two_convs()
    record = record_for(model, {"x": normal(*X)})
    record = replace(record, ranges={name: seen for name, seen in record.ranges.items() if name != "r"})
    with pytest.raises(ModelError, match="tensor 'r' has no range"):
        insert_qdq(as_component(model), record, form=QdqForm(PORTABLE))


def test_names_that_the_model_has_already_are_left_to_it() -> None:
    """Every name that Q/DQ would take by itself is an initializer of the model."""
    plain = insert_qdq(
        as_component(two_convs()), record_for(two_convs(), {"x": normal(*X)}), form=QdqForm(PORTABLE)
    )
    taken = {name for item in loaded(plain).graph.node for name in (*item.input, *item.output) if "/" in name}
    model = two_convs()
    extra = [helper.make_tensor(name, TensorProto.FLOAT, [1], [0.0]) for name in sorted(taken)]
    model.graph.initializer.extend(extra)
    sums = [node("Sum", ["y", *sorted(taken)], ["z"], "sum")]
    model.graph.node.extend(sums)
    model.graph.output.append(helper.make_tensor_value_info("z", TensorProto.FLOAT, (1, 4, 6, 6)))
    feeds = {"x": normal(*X)}
    made = loaded(insert_qdq(as_component(model), record_for(model, feeds), form=QdqForm(PORTABLE)))
    got = run_onnx(made, feeds)
    np.testing.assert_array_equal(got["z"], got["y"])
    np.testing.assert_array_equal(got["y"], run_onnx(loaded(plain), feeds)["y"])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_component_given_stays_as_it_is(case: Case) -> None:
    model = net(case.nodes, {"x": case.x}, case.outputs, case.parameters, opset=case.opset)
    component = as_component(model)
    before = serialize_model(component.model)
    types = {value.name: str(value.type) for item in component.model.graph for value in item.outputs}
    results = [
        insert_qdq(component, record_for(model, {"x": normal(*case.x)}), form=form) for form in FORMS * 2
    ]
    assert serialize_model(component.model) == before
    assert types == {value.name: str(value.type) for item in component.model.graph for value in item.outputs}
    files = [serialize_model(result.component.model) for result in results]
    assert files[:3] == files[3:]


def test_scales_speak_of_source_names_of_graph_outputs_too() -> None:
    result = insert_qdq(
        as_component(two_convs()), record_for(two_convs(), {"x": normal(*X)}), form=QdqForm(PORTABLE)
    )
    assert sorted(result.scales.tensors) == ["r", "x", "y"]
    assert [value.name for value in result.component.model.graph.outputs] == ["y"]


def test_a_graph_input_that_leaves_the_graph_too_keeps_both_names() -> None:
    model = two_convs()
    model.graph.output.append(model.graph.input[0])
    feeds = {"x": normal(*X)}
    component = Component("model", ir.from_proto(model), "digest")
    made = loaded(insert_qdq(component, record_for(two_convs(), feeds), form=QdqForm(PORTABLE)))
    np.testing.assert_array_equal(run_onnx(made, feeds)["x"], feeds["x"])


def test_a_branch_reads_the_int8_tensor_through_its_dq_and_stays_float_itself() -> None:
    def branch(op: str) -> onnx.GraphProto:
        out = helper.make_tensor_value_info("o", TensorProto.FLOAT, [1, 4, 6, 6])
        return helper.make_graph([node(op, ["a"], ["o"], op)], op, [], [out])

    decide = node("If", ["flag"], ["z"], "if", then_branch=branch("Abs"), else_branch=branch("Neg"))
    nodes = [
        conv("x", "a"),
        conv("a", "y"),
        node("ReduceSum", ["x"], ["sum"], keepdims=0),
        node("Greater", ["sum", "zero"], ["flag"]),
        decide,
    ]
    model = net(nodes, {"x": X}, ["y", "z"], {"w1": W1, "zero": f32(0)})
    feeds = {"x": normal(*X)}
    tensors = run_onnx(net(nodes[:2], {"x": X}, ["a", "y"], {"w1": W1}), feeds) | feeds
    made = loaded(insert_qdq(as_component(model), record_of(tensors), form=QdqForm(PORTABLE)))
    got, expected = run_onnx(made, feeds), run_onnx(model, feeds)
    step = float(initializers(made)["a/scale"])
    assert np.abs(got["z"] - expected["z"]).max() <= step * 2
    np.testing.assert_allclose(got["z"] / step, np.rint(got["z"] / step), atol=1e-3)
    (kept,) = [item for item in made.graph.node if item.op_type == "If"]
    inside = [item for attribute in kept.attribute for item in attribute.g.node]
    assert {item.op_type for item in inside} == {"Abs", "Neg"}


@pytest.mark.parametrize("dtype", [TensorProto.FLOAT16, TensorProto.DOUBLE])
def test_other_float_types_stay_as_they_are_and_say_so(dtype: int) -> None:
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    graph = helper.make_graph(
        [node("Conv", ["x", "w"], ["y"], "c")],
        "net",
        [helper.make_tensor_value_info("x", dtype, X)],
        [helper.make_tensor_value_info("y", dtype, X)],
        [onnx.numpy_helper.from_array(W1.astype(kind), "w")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    result = insert_qdq(as_component(model), record_of({}), form=QdqForm(PORTABLE))
    assert [(line.precision, line.reason) for line in result.decisions] == [
        ("float", "its tensors are not float32")
    ]
    assert quantized_nodes(loaded(result)) == {}


def test_a_foreign_domain_s_conv_is_no_conv() -> None:
    foreign = node("Conv", ["a", "w1"], ["y"], "theirs", domain="com.example")
    model = net([conv("x", "a")], {"x": X}, ["a"], {"w1": W1})
    record = record_for(model, {"x": normal(*X)})
    model.graph.node.append(foreign)
    model.opset_import.append(helper.make_opsetid("com.example", 1))
    del model.graph.output[:]
    model.graph.output.append(helper.make_tensor_value_info("y", TensorProto.FLOAT, X))
    result = insert_qdq(as_component(model), record, form=QdqForm(PORTABLE))
    assert [line.precision for line in result.decisions] == ["int8", "float"]
    (theirs,) = [item for item in result.component.model.graph if item.domain == "com.example"]
    assert [value.name for value in theirs.inputs if value is not None] == ["a/dequantized", "w1"]


def test_float_pins_a_node_and_only_names_the_ops() -> None:
    component, record = as_component(two_convs()), record_for(two_convs(), {"x": normal(*X)})
    pinned = insert_qdq(
        component, record, form=QdqForm(PORTABLE), steering=Steering(float_nodes=frozenset({"conv_a"}))
    )
    assert {line.node: line.precision for line in pinned.decisions} == {
        "conv_a": "float",
        "relu": "float",
        "conv_y": "int8",
    }
    assert sorted(pinned.scales.tensors) == ["r", "y"]
    kept = next(line for line in pinned.decisions if line.node == "conv_a")
    assert kept.reason == "kept float by the user"
    only = insert_qdq(
        component, record, form=QdqForm(PORTABLE), steering=Steering(only_ops=frozenset({"MatMul"}))
    )
    assert not only.scales.tensors
    assert {line.precision for line in only.decisions} == {"float"}


def test_only_refuses_an_op_that_has_no_row() -> None:
    component, record = as_component(two_convs()), record_for(two_convs(), {"x": normal(*X)})
    with pytest.raises(UsageError, match=r"'conv'.*'Conv'"):
        insert_qdq(component, record, form=QdqForm(PORTABLE), steering=Steering(only_ops=frozenset({"conv"})))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_decision_table_covers_every_node_and_candidates_cover_every_steering(case: Case) -> None:
    model = net(case.nodes, {"x": case.x}, case.outputs, case.parameters, opset=case.opset)
    component = as_component(model)
    candidates = set(list_candidates(component.model.graph))
    ranges = {name: as_range(f32([-1, 1])) for name in candidates}
    record = replace(record_of({}), ranges=ranges)
    names = [str(item.name) for item in component.model.graph]
    ops = {item.op_type for item in model.graph.node}
    steerings = [Steering(), *(Steering(float_nodes=frozenset({name})) for name in names if name)]
    steerings += [Steering(only_ops=frozenset({"Conv"})), Steering(only_ops=frozenset({"Gemm", "MatMul"}))]
    for steering in steerings:
        result = insert_qdq(component, record, form=QdqForm(PORTABLE), steering=steering)
        assert set(result.scales.tensors) <= candidates
        assert [(line.node, line.op) for line in result.decisions] == [
            (item.name or "", item.op_type) for item in component.model.graph
        ]
        assert {line.op for line in result.decisions if line.precision == "int8"} <= ops
        assert all(line.reason for line in result.decisions)


def test_three_thousand_nodes_take_seconds() -> None:
    nodes, source = [], "x"
    for index in range(750):
        nodes += [
            node("Conv", [source, "w1"], [f"c{index}"], f"conv{index}"),
            node("Sigmoid", [f"c{index}"], [f"s{index}"], f"sigmoid{index}"),
            node("Mul", [f"c{index}", f"s{index}"], [f"m{index}"], f"mul{index}"),
            node("Add", [f"m{index}", source], [f"a{index}"], f"add{index}"),
        ]
        source = f"a{index}"
    component = as_component(net(nodes, {"x": (1, 4, 2, 2)}, [source], {"w1": W1}))
    ranges = {name: as_range(f32([-1, 1])) for name in list_candidates(component.model.graph)}
    start = time.process_time()
    insert_qdq(component, replace(record_of({}), ranges=ranges), form=QdqForm(PORTABLE))
    assert time.process_time() - start < 10


def test_three_thousand_activations_in_a_row_take_seconds() -> None:
    ops = ("Tanh", "Abs", "Neg")
    nodes = [node(ops[i % 3], [f"t{i}"], [f"t{i + 1}"], f"n{i}") for i in range(3000)]
    nodes = [conv("x", "t0"), *nodes, conv("t3000", "y")]
    component = as_component(net(nodes, {"x": X}, ["y"], {"w1": W1}))
    ranges = {name: as_range(f32([-1, 1])) for name in list_candidates(component.model.graph)}
    start = time.process_time()
    insert_qdq(component, replace(record_of({}), ranges=ranges), form=QdqForm(PORTABLE))
    assert time.process_time() - start < 10
