"""Factors and terms in front of convolutions move into them where padding allows, and nowhere else."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.passes.push_affine import push_affine

if TYPE_CHECKING:
    from collections.abc import Sequence

RNG = np.random.default_rng(11)
Step = tuple[str, np.ndarray]


def net(
    steps: Sequence[Step], *, pads: int = 0, groups: int = 1, readers: int = 1, bias: bool = True
) -> onnx.ModelProto:
    """x [1, 4, 6, 6] -> Relu -> each step by its constant -> `readers` convolutions, added up."""
    nodes = [helper.make_node("Relu", ["x"], ["h0"])]
    arrays: dict[str, np.ndarray] = {}
    for index, (op, constant) in enumerate(steps):
        arrays[f"c{index}"] = constant
        nodes.append(helper.make_node(op, [f"h{index}", f"c{index}"], [f"h{index + 1}"], f"{op}{index}"))
    for reader in range(readers):
        arrays[f"w{reader}"] = RNG.standard_normal((8, 4 // groups, 3, 3))
        arrays[f"b{reader}"] = RNG.standard_normal(8)
        inputs = [f"h{len(steps)}", f"w{reader}", f"b{reader}"][: 3 if bias else 2]
        nodes.append(helper.make_node("Conv", inputs, [f"y{reader}"], pads=[pads] * 4, group=groups))
    nodes.append(helper.make_node("Sum", [f"y{reader}" for reader in range(readers)], ["y"]))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 4, 6, 6])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in arrays.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


def push(given: onnx.ModelProto) -> tuple[int, onnx.ModelProto]:
    model = ir.from_proto(given)
    return push_affine(model), ir.to_proto(model)


SCALAR, PER_CHANNEL = np.array(1.7), RNG.uniform(0.5, 2, (4, 1, 1))


@pytest.mark.parametrize("groups", [1, 2, 4])
@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize(
    ("steps", "pads", "gone"),
    [
        ([("Mul", SCALAR)], 0, 1),
        ([("Mul", PER_CHANNEL)], 1, 1),
        ([("Div", PER_CHANNEL)], 1, 1),
        ([("Add", PER_CHANNEL)], 0, 1),
        ([("Sub", SCALAR)], 0, 1),
        ([("Add", np.array(0.0))], 1, 1),
        ([("Add", PER_CHANNEL)], 1, 0),  # the padding is 0 and not the term
    ],
)
def test_outputs_stay_equal_to_onnxruntimes_on_the_original(
    steps: list[Step], pads: int, gone: int, groups: int, readers: int
) -> None:
    given = net(steps, pads=pads, groups=groups, readers=readers)
    count, pushed = push(given)
    assert count == gone
    assert sum(node.op_type == steps[0][0] for node in pushed.graph.node) == 1 - gone
    x = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(pushed, x), run(given, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("readers", [1, 2])
@pytest.mark.parametrize(
    ("steps", "left"),
    [
        ([("Mul", SCALAR), ("Add", PER_CHANNEL)], ["Add"]),
        ([("Div", SCALAR), ("Sub", SCALAR)], ["Sub"]),
        ([("Mul", np.array(-0.3)), ("Add", SCALAR)], ["Add"]),
        ([("Div", np.array(6.0)), ("Mul", SCALAR), ("Add", SCALAR)], ["Add"]),
        (
            [("Mul", PER_CHANNEL), ("Add", SCALAR)],
            ["Mul", "Add"],
        ),  # channels may be of one size because of it
        ([("Mul", np.array(0.0)), ("Add", SCALAR)], ["Mul", "Add"]),
        ([("Mul", np.array(1e-6)), ("Add", SCALAR)], ["Mul", "Add"]),  # the term would leave float16
        ([("Add", SCALAR), ("Mul", SCALAR), ("Add", SCALAR)], ["Add", "Add"]),
    ],
)
def test_a_factor_goes_past_a_term_that_padding_keeps(
    steps: list[Step], left: list[str], readers: int
) -> None:
    given = net(steps, pads=1, readers=readers)
    model, more = ir.from_proto(given), 1
    while more:
        more = push_affine(model)
    pushed = ir.to_proto(model)
    assert [
        node.op_type for node in pushed.graph.node if node.op_type in ("Add", "Div", "Mul", "Sub")
    ] == left
    x = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(pushed, x), run(given, x), rtol=1e-4, atol=1e-4)


def test_a_factor_stays_where_someone_else_reads_it_or_the_sum() -> None:
    for name in ("h1", "h2"):
        given = net([("Mul", SCALAR), ("Add", SCALAR)], pads=1)
        given.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, 4, 6, 6]))
        assert push(given)[0] == 0


def test_a_convolution_without_bias_gets_one_for_a_term() -> None:
    given = net([("Add", PER_CHANNEL)], bias=False)
    count, pushed = push(given)
    assert count == 1
    x = RNG.standard_normal((1, 4, 6, 6)).astype(np.float32)
    np.testing.assert_allclose(run(pushed, x), run(given, x), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "steps",
    [
        [("Mul", RNG.uniform(1, 2, (6,)))],  # along the width
        [("Mul", RNG.uniform(1, 2, (1, 4, 6, 6)))],  # value by value
        [("Mul", np.array(np.inf))],
        [("Div", np.array(0.0))],
        [("Pow", SCALAR)],
    ],
)
def test_what_is_no_finite_factor_a_channel_stays(steps: list[Step]) -> None:
    assert push(net(steps))[0] == 0


def test_a_result_that_someone_else_reads_stays() -> None:
    given = net([("Mul", SCALAR)])
    given.graph.output.append(helper.make_tensor_value_info("h1", TensorProto.FLOAT, [1, 4, 6, 6]))
    assert push(given)[0] == 0


def test_a_constant_divided_by_the_tensor_stays() -> None:
    given = net([("Div", SCALAR)])
    (node,) = [one for one in given.graph.node if one.op_type == "Div"]
    node.input[:] = [node.input[1], node.input[0]]
    assert push(given)[0] == 0
