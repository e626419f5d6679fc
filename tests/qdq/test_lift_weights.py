"""Weights too small for fp16-normal scales are lifted, and the layers behind give the factor back."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._qdq.lift_weights import lift_small_weights

if TYPE_CHECKING:
    from collections.abc import Sequence

RNG = np.random.default_rng(7)
FLOOR = 127 * 2.0**-14  # the smallest magnitude that 127 levels of the smallest fp16-normal scale reach


def conv_net(first: float, second: float, *, between: Sequence[str] = ("Relu",)) -> onnx.ModelProto:
    """Conv -> `between` -> Conv, weights uniform within +-first and +-second."""
    weights = {
        "w1": RNG.uniform(-first, first, (4, 3, 3, 3)),
        "b1": RNG.uniform(-1, 1, 4),
        "w2": RNG.uniform(-second, second, (2, 4, 1, 1)),
    }
    nodes = [helper.make_node("Conv", ["x", "w1", "b1"], ["h0"], "first")]
    for index, op in enumerate(between):
        nodes.append(helper.make_node(op, [f"h{index}"], [f"h{index + 1}"]))
    nodes.append(helper.make_node("Conv", [f"h{len(between)}", "w2"], ["y"], "second"))
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 2, 6, 6])],
        [numpy_helper.from_array(array.astype(np.float32), name) for name, array in weights.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def run(model: onnx.ModelProto, x: np.ndarray) -> np.ndarray:
    return np.asarray(ort.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0])


def largest_weight(model: onnx.ModelProto, node: str) -> float:
    (found,) = [one for one in model.graph.node if one.name == node]
    arrays = {one.name: numpy_helper.to_array(one) for one in model.graph.initializer}
    return float(np.abs(arrays[found.input[1]]).max())


@pytest.mark.parametrize("between", [(), ("Relu",), ("LeakyRelu",), ("Relu", "LeakyRelu")])
def test_a_layer_below_the_floor_is_lifted_and_the_outputs_stay_equal_to_the_bit(
    between: tuple[str, ...],
) -> None:
    given = conv_net(5e-4, 1.0, between=between)
    model = ir.from_proto(given)
    assert lift_small_weights(model) == 1
    lifted = ir.to_proto(model)
    assert largest_weight(given, "first") < FLOOR <= largest_weight(lifted, "first")
    x = (1000 * RNG.standard_normal((1, 3, 8, 8))).astype(np.float32)
    np.testing.assert_array_equal(run(lifted, x), run(given, x))


def test_the_layer_behind_gives_no_more_than_it_has() -> None:
    given = conv_net(1e-5, 4 * FLOOR)
    model = ir.from_proto(given)
    assert lift_small_weights(model) == 1
    lifted = ir.to_proto(model)
    assert largest_weight(lifted, "second") >= FLOOR
    assert largest_weight(lifted, "first") > largest_weight(given, "first")


@pytest.mark.parametrize(
    ("first", "second", "between"),
    [
        (1.0, 1.0, ("Relu",)),  # nothing to lift
        (1e-4, 1e-4, ("Relu",)),  # no room behind
        (1e-4, 1.0, ("Sigmoid",)),  # f(k x) is not k f(x)
        (1e-4, 1.0, ("HardSwish",)),
    ],
)
def test_other_nets_stay_as_they_are(first: float, second: float, between: tuple[str, ...]) -> None:
    given = conv_net(first, second, between=between)
    model = ir.from_proto(given)
    assert lift_small_weights(model) == 0
    assert ir.to_proto(model).SerializeToString() == ir.to_proto(ir.from_proto(given)).SerializeToString()


def test_a_result_that_is_also_an_output_is_not_scaled() -> None:
    given = conv_net(1e-4, 1.0)
    given.graph.output.append(helper.make_tensor_value_info("h1", TensorProto.FLOAT, [1, 4, 6, 6]))
    assert lift_small_weights(ir.from_proto(given)) == 0
