"""Integer weights beside float data: the arithmetic by formulas written out, the graph by ONNX Runtime."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
import pytest
from onnx import helper, numpy_helper

from edgekit._qdq import Steering, WeightRounder, quantize_weights
from edgekit._qdq.round_weights import Grouping, round_weight
from edgekit._schemes import WeightForm
from edgekit._values import Component
from edgekit.errors import ModelError
from edgekit.passes.serialize_model import serialize_model

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    from edgekit._schemes import WeightBits

    Floats = NDArray[np.float32]

OPS = ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul")
INT8 = tuple(WeightForm(op, 8) for op in OPS)
INT4 = tuple(WeightForm(op, 4, (32, 64)) for op in OPS)
ANY = INT8 + INT4


def weights_of(*shape: int) -> Floats:
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def component_of(
    nodes: Sequence[onnx.NodeProto], inputs: Mapping[str, Sequence[int]], weights: Mapping[str, Floats]
) -> Component:
    graph = helper.make_graph(
        nodes,
        "g",
        [
            helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape)
            for name, shape in inputs.items()
        ],
        [helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, None)],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    opset = [helper.make_opsetid("", 17)]
    return Component(
        "m", ir.from_proto(helper.make_model(graph, opset_imports=opset, ir_version=8)), "digest"
    )


def run(component: Component, feeds: Mapping[str, Floats]) -> Floats:
    """What ONNX's operators give, one by one: ONNX Runtime's optimizer would quantize the data too."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(serialize_model(component.model), options)
    results: Any = session.run(None, dict(feeds))
    return cast("Floats", results[0])


def restored(component: Component, name: str) -> Floats:
    """The one DequantizeLinear of the model, computed by ONNX Runtime."""
    node = next(node for node in component.model.graph if node.op_type == "DequantizeLinear")
    codes, scale = (value.const_value for value in node.inputs if value is not None)
    assert codes is not None
    assert scale is not None
    graph = helper.make_graph(
        [ir.to_proto(node)],
        "g",
        [],
        [helper.make_tensor_value_info(str(node.outputs[0].name), onnx.TensorProto.FLOAT, None)],
        [ir.to_proto(codes), ir.to_proto(scale)],
    )
    del name
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10)
    results: Any = ort.InferenceSession(model.SerializeToString()).run(None, {})
    return cast("Floats", results[0])


def test_int8_codes_are_the_nearest_multiples_of_the_largest_weight_over_127() -> None:
    weight = weights_of(24, 40)
    made = round_weight(weight, 8, Grouping(channel=0, summed=1))
    scale = (np.abs(weight).max(axis=1) / 127).astype(np.float16).astype(np.float32)
    assert np.array_equal(made.scales, scale)
    assert np.array_equal(made.codes, np.clip(np.rint(weight / scale[:, None]), -127, 127))


@pytest.mark.parametrize(
    ("shape", "grouping", "spread"),
    [
        ((8, 64), Grouping(0, 1, 32), lambda scales: np.repeat(scales, 32, axis=1)),
        ((64, 8), Grouping(1, 0, 32), lambda scales: np.repeat(scales, 32, axis=0)),
        ((8, 64), Grouping(1, 0), lambda scales: scales[None, :]),
        ((8, 4, 3, 3), Grouping(0, 1), lambda scales: scales[:, None, None, None]),
        ((4, 8, 3, 3), Grouping(1, 0), lambda scales: scales[None, :, None, None]),
    ],
    ids=["rows", "columns", "a column", "Conv", "ConvTranspose"],
)
@pytest.mark.parametrize("bits", [4, 8])
def test_codes_times_scales_are_within_the_rounding_that_is_told(
    shape: tuple[int, ...], grouping: Grouping, spread: Any, bits: WeightBits
) -> None:
    weight = weights_of(*shape)
    made = round_weight(weight, bits, grouping)
    back = made.codes * spread(made.scales)
    assert made.codes.shape == shape
    assert (made.codes.min() >= -8 and made.codes.max() <= 7) or bits == 8
    assert made.sqnr_db == pytest.approx(
        10 * math.log10((weight**2).sum() / ((weight - back) ** 2).sum()), abs=0.01
    )
    assert made.sqnr_db > (18 if bits == 4 else 40)


def test_clipping_loses_less_than_the_largest_weight_does() -> None:
    weight = weights_of(16, 64)
    groups = weight.reshape(-1, 32)
    plain = (np.abs(groups).max(axis=1) / 7)[:, None]
    noise = ((np.clip(np.rint(groups / plain), -8, 7) * plain - groups) ** 2).sum()
    unclipped = 10 * math.log10((weight**2).sum() / noise)
    assert round_weight(weight, 4, Grouping(0, 1, 32)).sqnr_db > unclipped + 1


def test_scales_are_numbers_that_fp16_holds_as_normal_ones() -> None:
    weight = weights_of(8, 64) * np.float32(1e-6)
    scales = round_weight(weight, 4, Grouping(0, 1, 32)).scales
    assert np.array_equal(scales, scales.astype(np.float16).astype(np.float32))
    assert scales.min() >= 2.0**-14


def test_a_weight_that_is_not_finite_is_refused_with_its_node() -> None:
    weight = weights_of(64, 32)
    weight[3, 3] = np.nan
    component = component_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], {"x": [2, 64]}, {"w": weight}
    )
    with pytest.raises(ModelError, match="MatMul 'mm': a weight is NaN"):
        quantize_weights(component, INT8, precision="w8")


def test_a_weight_beyond_fp16_scales_is_refused_with_a_way_out() -> None:
    weight = np.full((64, 32), 1e8, np.float32)
    component = component_of(
        [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")], {"x": [2, 64]}, {"w": weight}
    )
    with pytest.raises(ModelError, match=r"above the 65504.*--float"):
        quantize_weights(component, INT8, precision="w8")


MATMUL = [helper.make_node("MatMul", ["x", "w"], ["y"], name="mm")]


@pytest.mark.parametrize(("precision", "forms"), [("w8", INT8), ("w4", ANY)])
def test_a_matmul_computes_with_the_rounded_weights(precision: str, forms: tuple[WeightForm, ...]) -> None:
    weight, x = weights_of(64, 48), weights_of(3, 64)
    component = component_of(MATMUL, {"x": [3, 64]}, {"w": weight})
    result = quantize_weights(component, forms, precision=precision)  # type: ignore[arg-type]  # a Precision
    rounded = restored(result.component, "w")
    assert rounded.shape == weight.shape
    assert np.abs(rounded - weight).max() < (0.05 if precision == "w8" else 0.6)
    np.testing.assert_allclose(run(result.component, {"x": x}), x @ rounded, rtol=1e-5, atol=1e-5)
    assert [value.name for value in component.model.graph.initializers.values()] == ["w"]


def test_a_model_with_integer_weights_is_sound_onnx() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="mm"),
        helper.make_node("ReduceMean", ["h"], ["m"], name="mean", axes=[1]),
        helper.make_node("Split", ["m"], ["a", "b"], name="split"),
        helper.make_node("Add", ["a", "b"], ["y"], name="add"),
    ]
    x = weights_of(4, 64)
    component = component_of(nodes, {"x": [4, 64]}, {"w": weights_of(64, 48)})
    result = quantize_weights(component, ANY, precision="w4")
    proto = onnx.load_from_string(serialize_model(result.component.model))
    del proto.graph.value_info[:]
    proto.graph.output[0].CopyFrom(helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [2, 1]))
    onnx.checker.check_model(proto, full_check=True)
    expected = (x @ restored(result.component, "w")).mean(axis=1, keepdims=True)
    np.testing.assert_allclose(
        run(result.component, {"x": x}), expected[:2] + expected[2:], rtol=1e-4, atol=1e-5
    )


@pytest.mark.parametrize(
    ("forms", "block", "told"),
    [
        (ANY, 32, "int4 weights"),
        (ANY, 64, "int4 weights"),
        (ANY, 128, "int8 weights"),
        (ANY, 0, "int4 weights"),
        (INT4, 128, "int4 weights"),
        ((), 32, "float"),
    ],
)
def test_w4_takes_blocks_where_they_fit_else_int8(
    forms: tuple[WeightForm, ...], block: int, told: str
) -> None:
    component = component_of(MATMUL, {"x": [3, 64]}, {"w": weights_of(64, 48)})
    result = quantize_weights(component, forms, precision="w4", rounder=WeightRounder(block=block))
    assert [decision.precision for decision in result.decisions] == [told]
    blocks = [node.attributes.get("block_size") for node in result.component.model.graph]
    found = [attribute.as_int() for attribute in blocks if attribute is not None]
    assert found == ([block] if block in (32, 64) and forms else [])


def test_the_users_float_nodes_and_small_weights_stay_as_they_are() -> None:
    nodes = [
        helper.make_node("MatMul", ["x", "w"], ["h"], name="mm"),
        helper.make_node("MatMul", ["h", "v"], ["y"], name="small"),
    ]
    component = component_of(nodes, {"x": [3, 64]}, {"w": weights_of(64, 48), "v": weights_of(48, 4)})
    steering = Steering(frozenset({"mm"}))
    result = quantize_weights(component, ANY, precision="w8", steering=steering)
    assert [(item.node, item.precision) for item in result.decisions] == [("mm", "float")]
    assert not [node for node in result.component.model.graph if node.op_type == "DequantizeLinear"]


def test_two_readers_of_one_weight_share_its_integers() -> None:
    nodes = [
        helper.make_node("Gather", ["w", "ids"], ["e"], name="embedding"),
        helper.make_node("Gemm", ["e", "w"], ["y"], name="head", transB=1),
    ]
    component = component_of(nodes, {}, {"w": weights_of(48, 64), "ids": np.zeros(3, np.float32)})
    result = quantize_weights(component, INT8, precision="w8")
    assert [node.op_type for node in result.component.model.graph].count("DequantizeLinear") == 1
    assert {item.node for item in result.decisions} == {"embedding", "head"}


def test_the_method_is_told() -> None:
    component = component_of(MATMUL, {"x": [3, 64]}, {"w": weights_of(64, 48)})
    method = quantize_weights(component, ANY, precision="w4").method
    assert method == "w4: 1 int4 weights; round to nearest, each scale's clip chosen by mean squared error"
