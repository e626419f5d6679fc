from __future__ import annotations

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component, DimRange
from edgekit.errors import ModelError
from edgekit.passes.prepare_component import prepare_component

NONE = {"x": tuple(DimRange(size, size) for size in (2, 0, 4))}


def reducing(op: str) -> Component:
    """y = op(x) over axis 1, where x is [2, 0, 4]."""
    graph = helper.make_graph(
        [helper.make_node(op, ["x", "axes"], ["y"], keepdims=0)],
        "empty",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [2, 0, 4])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 4])],
        [numpy_helper.from_array(np.array([1], np.int64), "axes")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)])
    return Component("model", ir.from_proto(model), "0" * 64)


@pytest.mark.parametrize(
    ("op", "value"), [("ReduceSum", 0.0), ("ReduceProd", 1.0), ("ReduceMax", -np.inf), ("ReduceMin", np.inf)]
)
def test_a_reduction_of_nothing_becomes_the_neutral_element(op: str, value: float) -> None:
    graph = prepare_component(reducing(op), shapes=NONE).model.graph
    (node,) = graph
    assert node.op_type == "Identity"
    tensor = graph.initializers[node.inputs[0].name].const_value  # type: ignore[union-attr,index]  # it is there
    assert np.array_equal(tensor.numpy(), np.full((2, 4), value, np.float32))  # type: ignore[union-attr]  # it is there
    assert [item.name for item in graph.inputs] == ["x"]
    assert [item.name for item in graph.outputs] == ["y"]


def test_a_0_in_the_model_is_an_unknown_size_until_the_user_says_0() -> None:
    with pytest.raises(ModelError, match="has no size on axis 1"):
        prepare_component(reducing("ReduceSum"), shapes={})


def test_a_0_that_the_model_does_not_say_is_refused() -> None:
    shapes = {"x": (DimRange(0, 0), DimRange(0, 0), DimRange(4, 4))}
    with pytest.raises(ModelError, match="axis 0"):
        prepare_component(reducing("ReduceSum"), shapes=shapes)
