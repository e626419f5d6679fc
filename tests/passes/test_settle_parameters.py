from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit._values import Component
from edgekit.passes.prepare_component import prepare_component

if TYPE_CHECKING:
    from collections.abc import Sequence

DATA = np.arange(24, dtype=np.float32).reshape(2, 3, 4)
SQUARE = np.arange(18, dtype=np.float32).reshape(2, 3, 3) ** 1.5


def one_node(
    op: str, before: Sequence[int], after: Sequence[int], count: int, **attributes: Any
) -> onnx.ModelProto:
    """y = op(x, p) with a run-time int64 p of `count` entries."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "p"], ["y"], **attributes)],
        "run-time",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, before),
            helper.make_tensor_value_info("p", TensorProto.INT64, [count]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, after)],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)


def run(model: onnx.ModelProto, x: np.ndarray, p: Sequence[int]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    return np.asarray(session.run(None, {"x": x, "p": np.array(p, np.int64)})[0])


def settled(model: onnx.ModelProto) -> onnx.ModelProto:
    return ir.to_proto(prepare_component(Component("m", ir.from_proto(model), "0" * 64), shapes={}).model)


def reads_run_time(model: onnx.ModelProto) -> bool:
    return any("p" in node.input for node in model.graph.node)


@pytest.mark.parametrize(
    ("op", "after", "value"),
    [
        ("Reshape", [4, 6], [4, -1]),
        ("Expand", [2, 3, 4], [2, 1, 1]),
        ("Tile", [2, 6, 4], [1, 2, 1]),
        ("Unsqueeze", [2, 1, 3, 4], [1]),
        ("ReduceSum", [2, 1, 4], [-2]),
        ("ReduceMax", [1, 3, 1], [2, 0]),
    ],
)
def test_what_the_shapes_settle_no_longer_reads_the_run_time_input(
    op: str, after: list[int], value: list[int]
) -> None:
    model = one_node(op, DATA.shape, after, len(value))
    made = settled(model)
    assert not reads_run_time(made)
    assert [item.name for item in made.graph.input] == ["x", "p"]
    assert np.array_equal(run(made, DATA, value), run(model, DATA, value))


@pytest.mark.parametrize("op", ["ReduceSum", "ReduceMean", "ReduceL2", "ReduceProd"])
@pytest.mark.parametrize("axis", [1, 2, -1, -2])
def test_where_two_axes_fit_the_run_time_axis_chooses(op: str, axis: int) -> None:
    model = one_node(op, SQUARE.shape, [2, 3], 1, keepdims=0)
    made = settled(model)
    assert {node.op_type for node in made.graph.node} == {op, "Equal", "Or", "Where"}
    assert np.array_equal(run(made, SQUARE, [axis]), run(model, SQUARE, [axis]))


def test_two_axes_that_the_shapes_do_not_settle_stay_run_time() -> None:
    model = one_node("ReduceSum", [3, 3, 3], [3], 2, keepdims=0)
    made = settled(model)
    assert [node.op_type for node in made.graph.node] == ["ReduceSum"]
    assert reads_run_time(made)


def test_sizes_of_a_resize_that_keeps_the_aspect_ratio_stay_run_time() -> None:
    graph = helper.make_graph(
        [
            helper.make_node(
                "Resize", ["x", "", "", "p"], ["y"], axes=[2, 3], keep_aspect_ratio_policy="not_larger"
            )
        ],
        "resize",
        [
            helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 1, 2, 4]),
            helper.make_tensor_value_info("p", TensorProto.INT64, [2]),
        ],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 1, 1, 2])],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    assert reads_run_time(settled(model))
