from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgekit.calibration.open_session import open_session
from tests.models import run_onnx


def test_weights_that_are_no_row_in_memory_are_handed_over_too() -> None:
    weight = np.random.default_rng(1).standard_normal((64, 48)).astype(np.float32).T
    assert not weight.flags.c_contiguous
    x = ir.val("x", dtype=ir.DataType.FLOAT, shape=ir.Shape([1, 48]))
    held = ir.val("w", const_value=ir.Tensor(weight, name="w"))
    node = ir.node("MatMul", [x, held], name="product")
    node.outputs[0].name = "y"
    node.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
    node.outputs[0].shape = ir.Shape([1, 64])
    graph = ir.Graph([x], node.outputs, nodes=[node], initializers=[held], opset_imports={"": 17}, name="g")
    feeds = {"x": np.ones((1, 48), np.float32)}
    expected = run_onnx(ir.to_proto(ir.Model(graph, ir_version=8)), feeds)["y"]
    (got,) = open_session(ir.Model(graph, ir_version=8)).run(["y"], feeds)
    np.testing.assert_allclose(got, expected, rtol=1e-6)
