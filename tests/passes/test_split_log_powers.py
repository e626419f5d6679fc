"""Rewritten logarithms give what ONNX Runtime gave before, down to their floor; others are left alone."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

from edgekit.passes.split_log_powers import split_log_powers
from tests.models import run_onnx

if TYPE_CHECKING:
    from collections.abc import Sequence

Row = tuple[str, str, str]
# Rows of 10 numbers of either sign at levels from 1e-7 to 30, and zeros: powers below and above the floor.
RNG = np.random.default_rng(11)
LEVELS = np.append(10 ** np.linspace(-7, 1.5, 11), 0).reshape(2, 6, 1)
X = (LEVELS * RNG.standard_normal((2, 6, 10))).astype(np.float32)
LENGTH: Sequence[Row] = (("Mul", "x x", "q"), ("ReduceSum", "q axes", "t"), ("Sqrt", "t", "s"))
FLOOR = np.float32(1e-10)


def graph_of(rows: Sequence[Row], *, keepdims: int = 1, opset: int = 17, **numbers: Any) -> onnx.ModelProto:
    attributes: dict[str, dict[str, Any]] = {
        "ReduceSum": {"keepdims": keepdims},
        "Transpose": {"perm": [1, 0, 2]},
    }
    numbers = {"axes": np.array([2]), "two": np.float32(2), "e": FLOOR} | numbers
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
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True)


def rewritten(rows: Sequence[Row], **given: Any) -> tuple[int, list[str]]:
    """How many rewrites were made, and the ops then there; the numbers are those of before."""
    proto = graph_of(rows, **given)
    model = ir.from_proto(proto)
    count = split_log_powers(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    before, after = run_onnx(proto, {"x": X})["y"], run_onnx(model, {"x": X})["y"]
    assert np.isfinite(before).all()
    np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5)
    return count, [node.op_type for node in model.graph]


@pytest.mark.parametrize(
    "floor", [("Add", "p e", "f"), ("Add", "e p", "f"), ("Max", "p e", "f"), ("Clip", "p e", "f")]
)
@pytest.mark.parametrize("power", [("Mul", "x x", "p"), ("Pow", "x two", "p")])
def test_the_logarithm_of_a_square_is_twice_that_of_its_root(power: Row, floor: Row) -> None:
    count, ops = rewritten([power, floor, ("Log", "f", "y")])
    assert count == 1
    assert ops.count("Log") == (2 if floor[0] == "Add" else 1)
    assert "Pow" not in ops


@pytest.mark.parametrize("opset", [13, 18])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_a_sum_of_squares_is_taken_by_its_largest_part(keepdims: int, opset: int) -> None:
    rows = [*LENGTH[:2], ("Add", "t e", "f"), ("Log", "f", "y")]
    count, ops = rewritten(rows, keepdims=keepdims, opset=opset)
    assert (count, ops.count("ReduceMax"), ops.count("Squeeze")) == (1, 1, 1 - keepdims)


@pytest.mark.parametrize("moved", [False, True])
def test_a_length_that_is_squared_again_is_taken_by_its_largest_part_too(moved: bool) -> None:
    """As a spectrum in decibels has it: real and imaginary part, a length, its square, a floor."""
    move: list[Row] = [("Transpose", "s", "r")] if moved else [("Identity", "s", "r")]
    rows = [*LENGTH, *move, ("Mul", "r r", "p"), ("Add", "p e", "f"), ("Log", "f", "y")]
    count, ops = rewritten(rows)
    assert (count, ops.count("ReduceMax"), ops.count("Abs")) == (1, 1, 1)


def test_a_length_that_something_else_reads_is_the_same_for_that() -> None:
    rows = [*LENGTH, ("Mul", "s s", "p"), ("Add", "p e", "f"), ("Log", "f", "l"), ("Add", "l s", "y")]
    assert rewritten(rows)[0] == 1


@pytest.mark.parametrize(
    "floor", [1e-3, np.full(10, 1e-10, np.float32)], ids=["float16 holds it", "one a channel"]
)
def test_a_floor_of_another_kind_is_left_alone(floor: Any) -> None:
    rows = [("Mul", "x x", "p"), ("Add", "p e", "f"), ("Log", "f", "y")]
    assert rewritten(rows, e=np.asarray(floor, np.float32)) == (0, ["Mul", "Add", "Log"])


def test_a_power_that_is_no_square_and_a_clip_with_a_ceiling_are_left_alone() -> None:
    rows = [("Abs", "x", "p"), ("Add", "p e", "f"), ("Log", "f", "y")]
    assert rewritten(rows)[0] == 0
    rows = [("Mul", "x x", "p"), ("Clip", "p e two", "f"), ("Log", "f", "y")]
    assert rewritten(rows)[0] == 0


def with_open_batch(proto: onnx.ModelProto) -> onnx.ModelProto:
    proto.graph.input[0].type.tensor_type.shape.dim[0].dim_param = "n"
    proto.graph.ClearField("value_info")
    proto.graph.output[0].type.tensor_type.ClearField("shape")
    return onnx.shape_inference.infer_shapes(proto, strict_mode=True)


@pytest.mark.parametrize("opened", [False, True])
def test_a_floor_that_adds_an_axis_is_left_alone(opened: bool) -> None:
    for floor, count in ((FLOOR, 1), (np.full((1, 1, 1), FLOOR), 1), (np.full((1, 1, 1, 1), FLOOR), 0)):
        proto = graph_of([("Mul", "x x", "p"), ("Add", "p e", "f"), ("Log", "f", "y")], e=floor)
        proto = with_open_batch(proto) if opened else proto
        model = ir.from_proto(proto)
        assert split_log_powers(model) == count
        before, after = run_onnx(proto, {"x": X})["y"], run_onnx(model, {"x": X})["y"]
        np.testing.assert_allclose(after, before, rtol=1e-5, atol=1e-5, strict=True)


def run_in_float16(proto: onnx.ModelProto) -> np.ndarray:
    """The graph in numpy's float16, node by node (onnx's reference evaluator)."""
    half = onnx.ModelProto()
    half.CopyFrom(proto)
    half.graph.ClearField("value_info")
    for value in (*half.graph.input, *half.graph.output):
        value.type.tensor_type.elem_type = TensorProto.FLOAT16
    for row in half.graph.initializer:
        array = numpy_helper.to_array(row)
        if array.dtype == np.float32:
            row.CopyFrom(numpy_helper.from_array(array.astype(np.float16), row.name))
    with np.errstate(all="ignore"):
        (found,) = cast("list[Any]", ReferenceEvaluator(half).run(None, {"x": X.astype(np.float16)}))
    assert found.dtype == np.float16
    return np.asarray(found, np.float64)


def test_float16_holds_the_rewritten_form_where_it_loses_the_first() -> None:
    rows = [*LENGTH, ("Mul", "s s", "p"), ("Add", "p e", "f"), ("Log", "f", "y")]
    proto = graph_of(rows)
    model = ir.from_proto(proto)
    assert split_log_powers(model) == 1
    want = run_onnx(proto, {"x": X.astype(np.float16).astype(np.float32)})["y"]
    assert np.abs(run_in_float16(ir.to_proto(model)) - want).max() < 0.03
    assert np.abs(run_in_float16(proto) - want).max() > 1


@pytest.mark.parametrize("keepdims", [0, 1])
@pytest.mark.parametrize(
    "floored",
    [[*LENGTH, ("Mul", "s s", "p"), ("Add", "p e", "f")], [*LENGTH[:2], ("Add", "t e", "f")]],
    ids=["length", "sum"],
)
def test_float16_holds_it_with_an_open_batch_too(floored: Sequence[Row], keepdims: int) -> None:
    proto = with_open_batch(graph_of([*floored, ("Log", "f", "y")], keepdims=keepdims))
    model = ir.from_proto(proto)
    assert split_log_powers(model) == 1
    want = run_onnx(proto, {"x": X.astype(np.float16).astype(np.float32)})["y"]
    assert np.abs(run_in_float16(ir.to_proto(model)) - want).max() < 0.03
