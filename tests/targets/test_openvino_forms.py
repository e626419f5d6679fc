"""Forms of operators that ONNX's own node cases leave out, in OpenVINO beside ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

from tests.targets.ort_mobile_models import component
from tests.targets.test_openvino import TARGET, build, job, run_reference

if TYPE_CHECKING:
    from pathlib import Path

POOL = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1, 1, 1, 1], "ceil_mode": 1}
# Operator, attributes, shape of x, constants, number of outputs.
OTHERWISE: list[tuple[str, dict[str, Any], tuple[int, ...], list[tuple[int, ...]], int]] = [
    ("LSTM", {"hidden_size": 3, "input_forget": 1}, (5, 2, 4), [(1, 12, 4), (1, 12, 3), (1, 24)], 1),
    ("AveragePool", POOL | {"count_include_pad": 1}, (1, 3, 10, 10), [], 1),
    ("MaxPool", {"kernel_shape": [2, 2], "storage_order": 1}, (2, 3, 5, 7), [], 2),
    ("ReduceL1", {"noop_with_empty_axes": 1}, (2, 3), [], 1),
    ("ReduceL2", {"noop_with_empty_axes": 1}, (2, 3), [], 1),
    ("ReduceLogSum", {"noop_with_empty_axes": 1}, (2, 3), [], 1),
]
# The same operators in forms that OpenVINO computes as ONNX says.
AS_ONNX_SAYS: list[tuple[str, dict[str, Any], tuple[int, ...], list[tuple[int, ...]], int]] = [
    ("LSTM", {"hidden_size": 3, "clip": 0.3}, (5, 2, 4), [(1, 12, 4), (1, 12, 3), (1, 24)], 1),
    ("AveragePool", POOL | {"count_include_pad": 1}, (1, 3, 9, 9), [], 1),
    ("AveragePool", POOL | {"count_include_pad": 0}, (1, 3, 10, 10), [], 1),
    ("AveragePool", POOL | {"count_include_pad": 1, "pads": [0, 0, 0, 0]}, (1, 3, 10, 10), [], 1),
    ("MaxPool", {"kernel_shape": [2, 2]}, (2, 3, 5, 7), [], 2),
    ("ReduceSumSquare", {"noop_with_empty_axes": 1}, (2, 3), [], 1),
]


def one_node(
    op: str,
    attributes: dict[str, Any],
    shape: tuple[int, ...],
    constants: list[tuple[int, ...]],
    results: int,
) -> tuple[onnx.ModelProto, np.ndarray]:
    """The operator on an input "x" of this shape and random constants of those; and a positive x."""
    rng = np.random.default_rng(7)
    arrays = [rng.standard_normal(size).astype(np.float32) for size in constants]
    weights = [numpy_helper.from_array(array, f"w{place}") for place, array in enumerate(arrays)]
    outputs = [f"y{place}" for place in range(results)]
    graph = helper.make_graph(
        [helper.make_node(op, ["x", *(item.name for item in weights)], outputs, **attributes)],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info(name) for name in outputs],
        weights,
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)
    x = np.abs(rng.standard_normal(shape).astype(np.float32))
    return onnx.shape_inference.infer_shapes(model), -x if op in ("ReduceL1", "ReduceL2") else x


def differs(model: onnx.ModelProto, x: np.ndarray, folder: Path) -> bool:
    """Whether OpenVINO gives another shape or other numbers than ONNX Runtime."""
    got = TARGET.open(build(model, folder, "fp32"), folder).run({"x": x}).values()
    pairs = list(zip(got, run_reference(model, {"x": x}), strict=True))
    return any(a.shape != b.shape or not np.allclose(a, b, rtol=1e-4, atol=1e-5) for a, b in pairs)


@pytest.mark.parametrize("form", OTHERWISE, ids=lambda form: form[0])
def test_a_form_that_openvino_computes_otherwise_is_refused(form: Any, tmp_path: Path) -> None:
    model, x = one_node(*form)
    assert differs(model, x, tmp_path), "OpenVINO now computes it as ONNX says: take its row off the table"
    assert [gap.op for gap in TARGET.check([component(model)], job("fp32"))] == [form[0]]


@pytest.mark.parametrize("form", AS_ONNX_SAYS, ids=lambda form: form[0])
def test_its_neighbours_that_openvino_computes_rightly_are_taken(form: Any, tmp_path: Path) -> None:
    model, x = one_node(*form)
    assert not differs(model, x, tmp_path)
    assert TARGET.check([component(model)], job("fp32")) == []
