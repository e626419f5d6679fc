"""Shapes that a user gives: by name and position, and every way they can be wrong."""

from __future__ import annotations

import onnx_ir as ir
import pytest
from onnx import TensorProto, helper

from edgekit._values import DimRange
from edgekit.errors import ModelError
from edgekit.passes.fix_shapes import fix_shapes
from edgekit.passes.rename_dims import rename_dims
from edgekit.sources.graph_io import inputs_of


def model_of(**inputs: list[int | str | None]) -> ir.Model:
    values = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    nodes = [helper.make_node("Relu", [name], [f"{name}_out"]) for name in inputs]
    outputs = [helper.make_tensor_value_info(f"{name}_out", TensorProto.FLOAT, None) for name in inputs]
    graph = helper.make_graph(nodes, "shapes", values, outputs)
    return ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def dims(*sizes: int | tuple[int, int]) -> tuple[DimRange, ...]:
    return tuple(DimRange(size, size) if isinstance(size, int) else DimRange(*size) for size in sizes)


def test_dims_all_called_question_mark_are_fixed_by_position() -> None:
    model = model_of(x=["?", 3, "?", "?"])
    fix_shapes(model, {"x": dims(1, 3, 48, 320)})
    assert inputs_of(model)[0].shape == (1, 3, 48, 320)


def test_a_range_keeps_a_dim_of_its_own() -> None:
    model = model_of(x=["?", 3, "?", "?"])
    fix_shapes(model, {"x": dims((1, 4), 3, (32, 64), (32, 64))})
    shape = inputs_of(model)[0].shape
    assert shape[1] == 3
    assert len({shape[0], shape[2], shape[3]}) == 3
    assert all(isinstance(shape[axis], str) for axis in (0, 2, 3))


def test_a_named_dim_stays_shared_where_its_ranges_agree() -> None:
    model = model_of(a=["batch", 4], b=["batch", 5])
    fix_shapes(model, {"a": dims((1, 8), 4), "b": dims((1, 8), 5)})
    assert inputs_of(model)[0].shape[0] == inputs_of(model)[1].shape[0] == "batch"


def test_a_named_dim_is_split_where_its_ranges_differ() -> None:
    model = model_of(a=["batch", 4], b=["batch", 5])
    fix_shapes(model, {"a": dims((1, 8), 4), "b": dims((1, 2), 5)})
    assert inputs_of(model)[0].shape[0] != inputs_of(model)[1].shape[0]


def test_placeholder_names_become_unique_and_real_names_stay() -> None:
    model = model_of(x=["?", "?", -1, None, "batch"], y=["batch", "?"])
    assert rename_dims(model) == 5
    x, y = (info.shape for info in inputs_of(model))
    assert (x[4], y[0]) == ("batch", "batch")
    assert len({*x, *y}) == 6


@pytest.mark.parametrize(
    ("shapes", "says"),
    [
        ({}, r"input 'x' \[.*\] has no size on axis 0; give a size for each \?: --shape x=1,3,\?,\?"),
        ({"x": dims(1, 3, 48)}, "has 4 dims .* the shape given 3"),
        ({"x": dims(1, 4, 48, 320)}, "axis 1 is 3 in the model"),
        ({"x": dims(1, (1, 3), 48, 320)}, "axis 1 is 3 in the model"),
        ({"X": dims(1, 3, 48, 320)}, "no input 'X'.*did you mean 'x'"),
        ({"x": dims(0, 3, 48, 320)}, "axis 0: 0..0 is no range"),
        ({"x": dims((4, 1), 3, 48, 320)}, "axis 0: 4..1 is no range"),
    ],
)
def test_a_wrong_shape_is_refused_with_the_way_out(
    shapes: dict[str, tuple[DimRange, ...]], says: str
) -> None:
    with pytest.raises(ModelError, match=says):
        fix_shapes(model_of(x=["?", 3, "?", "?"]), shapes)


def test_an_input_of_unknown_rank_takes_the_shape_given() -> None:
    graph = helper.make_graph(
        [helper.make_node("Relu", ["x"], ["y"])],
        "rankless",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, None)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    with pytest.raises(ModelError, match="no shape"):
        fix_shapes(model, {})
    fix_shapes(model, {"x": dims(2, 3)})
    assert inputs_of(model)[0].shape == (2, 3)
