"""Old ops raised, new ops expanded or lowered, float16: held to ONNX Runtime on the original node."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component
from edgekit.errors import ModelError
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.fold_constants import fold_constants
from edgekit.passes.fuse_batchnorm import fuse_batchnorm
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.lift_constants import lift_constants
from edgekit.passes.lower_opset import lower_opset
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.raise_opset import raise_opset
from edgekit.passes.serialize_model import serialize_model
from edgekit.passes.to_float16 import to_float16
from tests.models import TOYS, assert_same_outputs, run_onnx, toy_cnn

X = np.random.default_rng(7).standard_normal((2, 4, 6, 6)).astype(np.float32)
Constants = dict[str, np.ndarray]


def one_node(
    op: str, data: np.ndarray, constants: Constants, opset: int, **attributes: Any
) -> tuple[onnx.ModelProto, dict[str, np.ndarray]]:
    """`op` on input x and constants; a name that starts with '_' stands for a left-out input."""
    inputs = ["x", *["" if name.startswith("_") else name for name in constants]]
    outputs = [f"y{index}" for index in range(attributes.pop("outputs", 1))]
    graph = helper.make_graph(
        [helper.make_node(op, inputs, outputs, "node", **attributes)],
        "one",
        [helper.make_tensor_value_info("x", helper.np_dtype_to_tensor_dtype(data.dtype), data.shape)],
        [helper.make_tensor_value_info(name, 0, None) for name in outputs],
        [numpy_helper.from_array(a, name) for name, a in constants.items() if not name.startswith("_")],
    )
    for value in graph.output:
        value.ClearField("type")
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)
    typed = onnx.shape_inference.infer_shapes(proto)
    return typed, {"x": data}


def loaded(proto: onnx.ModelProto) -> ir.Model:
    model = ir.from_proto(proto)
    lift_constants(model)
    infer_shapes(model)
    return model


def f32(*values: float) -> np.ndarray:
    return np.array(values, np.float32)


OLD_OPS: list[tuple[str, int, Constants, dict[str, Any]]] = [
    ("Softmax", 7, {}, {}),
    ("Softmax", 11, {}, {"axis": 2}),
    ("Softmax", 12, {}, {"axis": 3}),
    ("Softmax", 12, {}, {"axis": -1}),
    ("Softmax", 11, {}, {"axis": -2}),
    ("Softmax", 9, {}, {"axis": 0}),
    ("LogSoftmax", 11, {}, {"axis": 1}),
    ("Hardmax", 11, {}, {"axis": 1}),
    ("Clip", 7, {}, {"min": -0.5, "max": 0.25}),
    ("Clip", 10, {}, {"max": 0.25}),
    ("Pad", 7, {}, {"pads": [0, 0, 1, 2, 0, 0, 3, 4], "value": 1.5}),
    ("Pad", 10, {}, {"pads": [0, 0, 1, 2, 0, 0, 3, 4], "mode": "reflect"}),
    ("Slice", 7, {}, {"starts": [1, -4], "ends": [3, 100], "axes": [1, 3]}),
    ("Slice", 9, {}, {"starts": [0, 1], "ends": [1, 3]}),
    ("Squeeze", 11, {}, {"axes": [0]}),
    ("Squeeze", 7, {}, {}),
    ("Unsqueeze", 11, {}, {"axes": [0, 2]}),
    ("ReduceSum", 11, {}, {"axes": [1, 3], "keepdims": 0}),
    ("ReduceSum", 7, {}, {}),
    ("ReduceMean", 7, {}, {"axes": [2, 3]}),
    ("Split", 7, {}, {"axis": 1, "split": [1, 3], "outputs": 2}),
    ("Split", 11, {}, {"axis": 1, "outputs": 2}),
    ("TopK", 7, {}, {"k": 3, "axis": 3, "outputs": 2}),
    ("Dropout", 7, {}, {"ratio": 0.3}),
    ("Dropout", 10, {}, {}),
    ("Upsample", 7, {}, {"scales": [1.0, 1.0, 2.0, 3.0]}),
    ("Upsample", 7, {}, {"scales": [1.0, 1.0, 2.0, 2.0], "mode": "linear"}),
    ("Upsample", 9, {"s": f32(1, 1, 2, 1.5)}, {"mode": "nearest"}),
    ("Resize", 10, {"s": f32(1, 1, 2, 1.5)}, {"mode": "linear"}),
    ("Resize", 10, {"s": f32(1, 1, 0.5, 0.7)}, {"mode": "nearest"}),
    ("Resize", 11, {"r": f32(), "s": f32(1, 1, 2, 2)}, {"coordinate_transformation_mode": "align_corners"}),
    ("Resize", 11, {"r": f32(), "s": f32(), "t": np.array([2, 4, 9, 5])}, {"mode": "cubic"}),
    ("BatchNormalization", 7, dict.fromkeys("abcd", f32(1, 2, 0.5, 3)), {"epsilon": 1e-3}),
    ("BatchNormalization", 9, dict.fromkeys("abcd", f32(1, 2, 0.5, 3)), {}),
    ("Scatter", 9, {"i": np.array([[[[0, 2]]]]), "u": f32(5, 6).reshape(1, 1, 1, 2)}, {"axis": 3}),
    ("RoiAlign", 10, {"r": f32(0, 0, 4, 4).reshape(1, 4), "b": np.array([1])}, {"output_height": 3}),
    ("MaxPool", 7, {}, {"kernel_shape": [2, 2], "strides": [2, 2]}),
    ("AveragePool", 7, {}, {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1]}),
    ("Flatten", 7, {}, {"axis": 2}),
    ("LRN", 7, {}, {"size": 3}),
    ("Gemm", 7, {"b": np.ones((6, 5), np.float32), "c": np.ones((1, 5), np.float32)}, {"alpha": 0.5}),
]


def test_old_nearest_resize_that_shrinks_and_enlarges_is_refused() -> None:
    proto, _ = one_node("Resize", X, {"s": f32(1, 1, 2, 0.5)}, 10, mode="nearest")
    with pytest.raises(ModelError, match="shrinks one axis"):
        raise_opset(loaded(proto))


@pytest.mark.parametrize(("op", "opset", "constants", "attributes"), OLD_OPS)
def test_an_old_op_gives_the_same_at_opset_17(
    op: str, opset: int, constants: Constants, attributes: dict[str, Any]
) -> None:
    data = X[:1, :1] if op == "Squeeze" else X[0, 0] if op == "Gemm" else X
    proto, feeds = one_node(op, data, constants, opset, **attributes)
    model = loaded(proto)
    raise_opset(model)
    assert model.opset_imports[""] == 17
    onnx.checker.check_model(serialize_model(model), full_check=True)
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=1e-5)


def test_old_softmax_inside_a_dynamic_graph_keeps_its_flattening() -> None:
    proto, feeds = one_node("Softmax", X, {}, 11, axis=1)
    proto.graph.input[0].type.tensor_type.shape.dim[2].dim_param = "h"
    model = loaded(proto)
    raise_opset(model)
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=1e-5)


def test_an_old_form_without_equal_is_refused_by_name() -> None:
    stats = dict.fromkeys("abcd", np.ones((4, 6, 6), np.float32))
    proto, _ = one_node("BatchNormalization", X, stats, 7)
    proto.graph.node[0].attribute.append(helper.make_attribute("spatial", 0))
    with pytest.raises(ModelError, match="BatchNormalization 'node': spatial=0"):
        raise_opset(ir.from_proto(proto))


NEW_OPS: list[tuple[str, int, Constants, dict[str, Any]]] = [
    ("LayerNormalization", 17, {"s": f32(1, 2, 3, 4, 5, 6), "b": f32(6, 5, 4, 3, 2, 1)}, {}),
    ("Gelu", 20, {}, {}),
    ("Gelu", 20, {}, {"approximate": "tanh"}),
    ("HardSwish", 17, {}, {}),
    ("Mish", 18, {}, {}),
    ("Elu", 18, {}, {}),
    ("HardSigmoid", 18, {}, {"alpha": 0.1}),
    ("GroupNormalization", 21, {"s": f32(1, 2, 3, 4), "b": f32(4, 3, 2, 1)}, {"num_groups": 2}),
    ("RMSNormalization", 23, {"s": f32(1, 2, 3, 4, 5, 6)}, {}),
    ("Softmax", 17, {}, {"axis": 1}),
]


@pytest.mark.parametrize(("op", "opset", "constants", "attributes"), NEW_OPS)
def test_an_expanded_op_gives_what_the_runtime_gives(
    op: str, opset: int, constants: Constants, attributes: dict[str, Any]
) -> None:
    proto, feeds = one_node(op, X, constants, opset, **attributes)
    model = loaded(proto)
    assert expand_functions(model, {op}) == 1
    ops = {node.op_type for node in model.graph}
    assert not ops & {op, "CastLike", "Constant"}
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=1e-4)


LOWERED: list[tuple[str, int, Constants, dict[str, Any]]] = [
    ("ReduceMean", 18, {"a": np.array([2, 3])}, {"keepdims": 0}),
    ("ReduceMax", 20, {}, {}),
    ("Split", 18, {}, {"num_outputs": 4, "axis": 2, "outputs": 4}),
    ("Pad", 18, {"p": np.array([1, 2]), "v": f32(3).reshape(()), "a": np.array([-1])}, {}),
    ("Resize", 19, {"_r": f32(), "s": f32(1, 1, 2, 2)}, {"mode": "linear"}),
    ("Gelu", 20, {}, {}),
    ("Mish", 22, {}, {}),
    ("Elu", 22, {}, {}),
    ("AveragePool", 22, {}, {"kernel_shape": [2, 2]}),
    ("Reshape", 21, {"s": np.array([2, -1])}, {}),
    ("GroupNormalization", 21, {"s": f32(1, 2, 3, 4), "b": f32(4, 3, 2, 1)}, {"num_groups": 4}),
    ("RMSNormalization", 23, {"s": f32(1, 2, 3, 4, 5, 6)}, {}),
    ("HardSwish", 22, {}, {}),
]


@pytest.mark.parametrize(("op", "opset", "constants", "attributes"), LOWERED)
def test_a_new_op_lowered_to_17_gives_the_same(
    op: str, opset: int, constants: Constants, attributes: dict[str, Any]
) -> None:
    proto, feeds = one_node(op, X, constants, opset, **attributes)
    model = loaded(proto)
    lower_opset(model, 17)
    assert model.opset_imports[""] == 17
    onnx.checker.check_model(serialize_model(model), full_check=True)
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=1e-4)


@pytest.mark.parametrize(
    ("op", "opset", "attributes", "says"),
    [
        ("AveragePool", 22, {"kernel_shape": [2, 2], "dilations": [2, 2]}, "dilations are newer"),
        ("AveragePool", 19, {"kernel_shape": [2, 2], "strides": [2, 2], "ceil_mode": 1}, "ceil_mode=1"),
        ("LpPool", 18, {"kernel_shape": [2, 2]}, "its meaning changed in opset 18"),
    ],
)
def test_what_cannot_be_lowered_is_refused_by_name(
    op: str, opset: int, attributes: dict[str, Any], says: str
) -> None:
    proto, _ = one_node(op, X, {}, opset, **attributes)
    with pytest.raises(ModelError, match=rf"opset 17 has no equal of {op} 'node' \({says}"):
        lower_opset(loaded(proto), 17)


@pytest.mark.parametrize("toy", TOYS)
def test_float16_toys_stay_near_float32_with_float32_io(toy: str) -> None:
    proto = TOYS[toy]()
    model = prepare_component(Component("model", ir.from_proto(proto), "digest"), shapes={}).model
    assert to_float16(model) > 0
    shape = [dim.dim_value for dim in proto.graph.input[0].type.tensor_type.shape.dim]
    feeds = {"x": np.random.default_rng(0).standard_normal(shape).astype(np.float32)}
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=2e-2, atol=1e-2)
    onnx.checker.check_model(serialize_model(model), full_check=True)


def test_float16_keeps_weights_beyond_65504_in_float() -> None:
    weight = np.full((6, 2), 1e5, np.float32)
    proto, _ = one_node("MatMul", X, {"w": weight}, 17)
    model = loaded(proto)
    assert to_float16(model) == 0
    assert model.graph.initializers["w"].dtype == ir.DataType.FLOAT


def test_float16_keeps_a_scalar_that_would_vanish_in_float() -> None:
    proto, _ = one_node("Add", np.zeros((2, 2), np.float32), {"eps": np.array(1e-9, np.float32)}, 17)
    assert to_float16(loaded(proto)) == 0


def test_folding_never_creates_a_tensor_that_fills_the_memory() -> None:
    big = np.array([100_000, 100_000], np.int64)
    graph = helper.make_graph(
        [
            helper.make_node("ConstantOfShape", ["size"], ["huge"], "bomb"),
            helper.make_node("ReduceMax", ["huge"], ["top"], "top", keepdims=0),
            helper.make_node("Add", ["x", "top"], ["y"], "add"),
        ],
        "bomb",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1])],
        [numpy_helper.from_array(big, "size")],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = ir.from_proto(proto)
    assert fold_constants(model) == 0
    assert [node.op_type for node in model.graph] == ["ConstantOfShape", "ReduceMax", "Add"]


@pytest.mark.parametrize(
    ("op", "weight", "attributes", "data"),
    [
        ("Conv", (6, 2, 3, 3), {"group": 2}, (2, 4, 6, 6)),
        ("ConvTranspose", (4, 3, 3, 3), {"group": 2, "strides": [2, 2]}, (2, 4, 6, 6)),
        ("Gemm", (4, 6), {"alpha": 0.5, "beta": 2.0}, (2, 4)),
        ("Gemm", (6, 4), {"transB": 1}, (2, 4)),
    ],
)
def test_batchnorm_is_fused_into_each_kind_of_product(
    op: str, weight: tuple[int, ...], attributes: dict[str, Any], data: tuple[int, ...]
) -> None:
    rng = np.random.default_rng(3)
    stats = {name: rng.uniform(0.5, 2.0, 6).astype(np.float32) for name in ("g", "b", "m", "v")}
    arrays = {
        "w": rng.standard_normal(weight).astype(np.float32),
        "c": rng.uniform(size=6).astype(np.float32),
    }
    graph = helper.make_graph(
        [
            helper.make_node(op, ["x", "w", "c"], ["p"], "product", **attributes),
            helper.make_node("BatchNormalization", ["p", "g", "b", "m", "v"], ["y"], "norm"),
        ],
        "bn",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, data)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in (arrays | stats).items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    model = loaded(proto)
    assert fuse_batchnorm(model) == 1
    feeds = {"x": rng.standard_normal(data).astype(np.float32)}
    assert_same_outputs(run_onnx(model, feeds), run_onnx(proto, feeds), rtol=1e-4)


def test_batchnorm_stays_where_the_product_feeds_something_else() -> None:
    proto = toy_cnn()
    proto.graph.output.append(helper.make_tensor_value_info("c1", TensorProto.FLOAT, None))
    assert fuse_batchnorm(ir.from_proto(proto)) == 1  # the other of the two


def test_float16_of_a_clone_leaves_the_source_in_float32() -> None:
    model = loaded(TOYS["toy-cnn"]())
    to_float16(model.clone())
    assert {value.dtype for node in model.graph for value in node.outputs} == {ir.DataType.FLOAT}
