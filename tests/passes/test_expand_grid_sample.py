from __future__ import annotations

from itertools import product
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import TensorProto, helper

from edgekit._values import Component
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component

RNG = np.random.default_rng(5)
FLAT = [(mode, padding, align, 2) for mode, padding, align in product(
    ("bilinear", "nearest", "bicubic"), ("zeros", "border", "reflection"), (0, 1))]  # fmt: skip
DEEP = [(mode, padding, align, 3) for mode, padding, align in product(
    ("linear", "nearest"), ("zeros", "border", "reflection"), (0, 1))]  # fmt: skip


def sampling(mode: str, padding: str, align: int, axes: int) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """y = GridSample(x, grid) with a grid that leaves the data on all sides, and its feeds."""
    sizes, points = [5, 4, 3][:axes], [3, 4, 2][:axes]
    x = RNG.standard_normal((2, 3, *sizes)).astype(np.float32)
    grid = RNG.uniform(-1.7, 1.7, (2, *points, axes)).astype(np.float32)
    attributes: dict[str, Any] = {"mode": mode, "padding_mode": padding, "align_corners": align}
    graph = helper.make_graph(
        [helper.make_node("GridSample", ["x", "grid"], ["y"], **attributes)],
        "sampling",
        [helper.make_tensor_value_info(n, TensorProto.FLOAT, a.shape) for n, a in (("x", x), ("grid", grid))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [2, 3, *points])],
    )
    opset = 16 if mode.startswith("bi") else 20
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=9)
    return model, {"x": x, "grid": grid}


def run(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> np.ndarray:
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    result: Any = session.run(None, feeds)[0]
    return np.asarray(result)


def expanded(model: onnx.ModelProto) -> onnx.ModelProto:
    component = prepare_component(Component("m", ir.from_proto(model), "0" * 64), shapes={})
    expand_functions(component.model, {"GridSample"})
    return ir.to_proto(component.model)


@pytest.mark.parametrize(("mode", "padding", "align", "axes"), [*FLAT, *DEEP])
def test_the_expansion_samples_as_onnxruntime_does(mode: str, padding: str, align: int, axes: int) -> None:
    model, feeds = sampling(mode, padding, align, axes)
    made = expanded(model)
    assert "GridSample" not in {node.op_type for node in made.graph.node}
    np.testing.assert_allclose(run(made, feeds), run(model, feeds), rtol=1e-4, atol=2e-5)


def test_a_padding_mode_that_nobody_knows_stays() -> None:
    model, _ = sampling("bilinear", "mirror", 0, 2)
    assert "GridSample" in {node.op_type for node in expanded(model).graph.node}
