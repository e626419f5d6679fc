"""Opset 17 -> 21: the same numbers in ONNX Runtime, or a refusal."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper

from edgekit.errors import ModelError
from edgekit.passes.reach_opset import reach_opset

if TYPE_CHECKING:
    from onnx import NodeProto

X = np.random.default_rng(0).standard_normal((1, 2, 6, 6)).astype(np.float32)


def model_of(node: NodeProto, outputs: tuple[str, ...] = ("y",), opset: int = 17) -> onnx.ModelProto:
    graph = helper.make_graph(
        [node],
        "g",
        [helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, X.shape)],
        [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, None) for name in outputs],
        [onnx.numpy_helper.from_array(np.zeros((1, 3, 3, 2), np.float32), "grid")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


@pytest.mark.parametrize(
    ("node", "outputs"),
    [
        (helper.make_node("ReduceMax", ["x"], ["y"], axes=[1, 2], keepdims=0), ("y",)),
        (helper.make_node("ReduceL2", ["x"], ["y"]), ("y",)),
        (helper.make_node("Split", ["x"], ["y", "z"], axis=2), ("y", "z")),
        (helper.make_node("AveragePool", ["x"], ["y"], kernel_shape=[2, 2]), ("y",)),
        (helper.make_node("GridSample", ["x", "grid"], ["y"], mode="bicubic"), ("y",)),
        (helper.make_node("GridSample", ["x", "grid"], ["y"]), ("y",)),
        (helper.make_node("LpPool", ["x"], ["y"], kernel_shape=[2, 2]), ("y",)),
        (helper.make_node("Relu", ["x"], ["y"]), ("y",)),
        (helper.make_node("Cast", ["x"], ["y"], to=1), ("y",)),
    ],
    ids=lambda item: getattr(item, "op_type", None),
)
def test_a_node_computes_the_same_in_the_newer_opset(node: NodeProto, outputs: tuple[str, ...]) -> None:
    old = model_of(node, outputs)
    model = ir.from_proto(old)
    reach_opset(model, 21)
    new = ir.to_proto(model)
    assert new.opset_import[0].version == 21
    before = ort.InferenceSession(old.SerializeToString()).run(None, {"x": X})
    after = ort.InferenceSession(new.SerializeToString()).run(None, {"x": X})
    for first, second in zip(before, after, strict=True):
        np.testing.assert_allclose(np.asarray(first), np.asarray(second), rtol=1e-5, atol=1e-6)


def test_what_is_new_enough_stays_untouched() -> None:
    model = ir.from_proto(model_of(helper.make_node("Relu", ["x"], ["y"]), opset=22))
    assert reach_opset(model, 21) == 0
    assert model.opset_imports[""] == 22


def test_a_window_that_hangs_over_the_edge_is_refused() -> None:
    node = helper.make_node("AveragePool", ["x"], ["y"], name="pool", kernel_shape=[2, 2], ceil_mode=1)
    with pytest.raises(ModelError, match=r"AveragePool 'pool': ceil_mode=1 averages otherwise.*w8"):
        reach_opset(ir.from_proto(model_of(node)), 21)


def test_an_op_whose_meaning_changed_is_refused() -> None:
    node = helper.make_node("DFT", ["x"], ["y"], name="dft", axis=1)
    with pytest.raises(ModelError, match="DFT 'dft': its meaning changed in opset 20"):
        reach_opset(ir.from_proto(model_of(node)), 21)
