"""Whether Q/DQ stands between a convolution and its activation is the target's to say."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._cost import count_macs
from edgekit._qdq import QdqForm, insert_qdq
from edgekit._schemes import PORTABLE
from edgekit.passes.serialize_model import serialize_model
from tests.models import run_onnx
from tests.qdq.qdq_nets import all_tensors, as_component, record_of

RNG = np.random.default_rng(5)


def conv_net(activation: str) -> onnx.ModelProto:
    """Conv -> activation -> Conv."""
    weights = {"w1": (4, 3, 3, 3), "w2": (4, 4, 1, 1)}
    nodes = [
        helper.make_node("Conv", ["x", "w1"], ["c1"], "first"),
        helper.make_node(activation, ["c1"], ["a1"], "act"),
        helper.make_node("Conv", ["a1", "w2"], ["y"], "second"),
    ]
    graph = helper.make_graph(
        nodes,
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 3, 8, 8])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 4, 6, 6])],
        [
            numpy_helper.from_array(RNG.standard_normal(shape).astype(np.float32), name)
            for name, shape in weights.items()
        ],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return onnx.shape_inference.infer_shapes(model)


@pytest.mark.parametrize("activation", ["HardSwish", "Sigmoid", "Relu"])
def test_a_float_convolution_output_is_rounded_once_behind_the_activation(activation: str) -> None:
    model = conv_net(activation)
    feeds = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    record = record_of(all_tensors(model, feeds))
    form = QdqForm(PORTABLE, conv_output="float")
    result = insert_qdq(as_component(model), record, form=form)
    assert set(result.scales.tensors) == {"x", "a1"}
    made = onnx.load_from_string(serialize_model(result.component.model))
    onnx.checker.check_model(made, full_check=True)
    # Both convolutions still multiply int8 by int8, and the result is near the float net's.
    macs = count_macs(result.component.model)
    assert macs is not None
    assert macs.int8 == macs.total == 36 * 4 * 27 + 36 * 4 * 4
    got, want = run_onnx(made, feeds)["y"], run_onnx(model, feeds)["y"]
    assert 10 * np.log10((want**2).sum() / ((got - want) ** 2).sum()) > 25


def test_an_integer_kernel_gets_its_quantizer_behind_the_convolution() -> None:
    model = conv_net("HardSwish")
    feeds = {"x": RNG.standard_normal((1, 3, 8, 8)).astype(np.float32)}
    result = insert_qdq(as_component(model), record_of(all_tensors(model, feeds)), form=QdqForm(PORTABLE))
    assert set(result.scales.tensors) == {"x", "c1", "a1", "y"}
