"""Rewritten means and variances give what ONNX Runtime gave before, and what is none is left alone."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit.passes.center_variances import center_variances
from tests.models import assert_same_outputs, run_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

X = (np.random.default_rng(8).standard_normal((2, 6, 10)) + 3).astype(np.float32)
Row = tuple[str, str, str]


def rewritten(
    rows: Sequence[Row], keepdims: int = 1, axis: int = 1, opset: int = 17, **numbers: Any
) -> tuple[int, Counter[str]]:
    """How many rewrites were made, and the ops then there; the numbers are those of before."""
    attributes: dict[str, dict[str, Any]] = {"ReduceSum": {"keepdims": keepdims}}
    attributes["ReduceMean"] = {"keepdims": keepdims} | ({"axes": [axis]} if opset < 18 else {})
    numbers = {"axes": np.array([axis]), "two": np.float32(2)} | numbers
    graph = helper.make_graph(
        [
            helper.make_node(op, inputs.split(), [out], out, **attributes.get(op, {}))
            for op, inputs, out in rows
        ],
        "g",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, X.shape)],
        [helper.make_empty_tensor_value_info("y")],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    model = ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))
    count = center_variances(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    assert_same_outputs(run_onnx(model, {"x": X}), run_onnx(proto, {"x": X}), rtol=1e-4, atol=1e-4)
    return count, Counter(node.op_type for node in model.graph)


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    ("op", "inputs", "n"), [("Mul", "s n", 1 / 6), ("Mul", "n s", 1 / 6), ("Div", "s n", 6)]
)
def test_a_sum_times_one_over_its_count_is_a_mean(
    op: str, inputs: str, n: float, keepdims: int, opset: int
) -> None:
    rows = [("ReduceSum", "x axes", "s"), (op, inputs, "y")]
    assert rewritten(rows, keepdims, opset=opset, n=np.float32(n)) == (1, Counter(ReduceMean=1))


@pytest.mark.parametrize(
    ("op", "inputs", "n"),
    [("Mul", "s n", 1 / 10), ("Div", "n s", 6), ("Mul", "s n", [[[[1 / 6]]]]), ("Mul", "s n", [1 / 6] * 10)],
)
def test_another_share_of_a_sum_stays_a_sum(op: str, inputs: str, n: Any) -> None:
    rows = [("ReduceSum", "x axes", "s"), (op, inputs, "y")]
    assert rewritten(rows, n=np.asarray(n, np.float32)) == (0, Counter(("ReduceSum", op)))


def test_a_sum_that_something_else_reads_stays_for_it() -> None:
    rows = [("ReduceSum", "x axes", "s"), ("Div", "s n", "m"), ("Sub", "s m", "y")]
    assert rewritten(rows, n=np.float32(6)) == (1, Counter(ReduceSum=1, ReduceMean=1, Sub=1))


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize("axis", [1, -1])
@pytest.mark.parametrize("square", ["Mul", "Pow"])
def test_a_difference_of_squares_is_the_mean_of_squared_deviations(
    square: str, axis: int, keepdims: int
) -> None:
    squared = "{0} {0}" if square == "Mul" else "{0} two"
    rows = [
        ("ReduceMean", "x", "m"), (square, squared.format("m"), "mm"),
        (square, squared.format("x"), "q"), ("ReduceMean", "q", "u"), ("Sub", "u mm", "y"),
    ]  # fmt: skip
    wanted = Counter(ReduceMean=2, Sub=1, Mul=1) + Counter({"Unsqueeze": 1 - keepdims})
    assert rewritten(rows, keepdims, axis) == (1, wanted)


@pytest.mark.parametrize(
    "rows",
    [
        [("ReduceMean", "x", "m"), ("Mul", "m m", "mm"), ("ReduceMean", "x", "u"), ("Sub", "u mm", "y")],
        [("ReduceMean", "x", "m"), ("Mul", "m m", "mm"), ("Mul", "x two", "q"), ("ReduceMean", "q", "u"),
         ("Sub", "u mm", "y")],
        [("ReduceMean", "x", "m"), ("Mul", "m m", "mm"), ("Mul", "x x", "q"), ("ReduceMean", "q", "u"),
         ("Sub", "mm u", "y")],
        [("Exp", "x", "e"), ("ReduceMean", "e", "m"), ("Mul", "m m", "mm"), ("Mul", "x x", "q"),
         ("ReduceMean", "q", "u"), ("Sub", "u mm", "y")],
    ],
    ids=["no square", "a product by two", "turned round", "of other numbers"],
)  # fmt: skip
def test_what_is_no_variance_is_left_alone(rows: list[Row]) -> None:
    assert rewritten(rows) == (0, Counter(op for op, _, _ in rows))
