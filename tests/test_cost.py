"""MACs, parameters and memory against numbers worked out by hand."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._cost import count_macs, node_costs, peak_activation_bytes
from edgekit._values import MacShare
from edgekit._work import count_work
from edgekit.passes.infer_shapes import infer_shapes
from tests.models import toy_cnn

Shapes = dict[str, tuple[int | str, ...]]


def model_of(
    nodes: list[Any], inputs: Shapes, weights: dict[str, np.ndarray], outputs: list[str]
) -> ir.Model:
    graph = helper.make_graph(
        nodes,
        "cost",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    infer_shapes(model)
    return model


def floats(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


# op, input shape, weight shapes, attributes, MACs by hand
PRODUCTS: list[tuple[str, tuple[int, ...], list[tuple[int, ...]], dict[str, Any], int]] = [
    # out [1,8,6,6]: 288 elements of 3*3*3
    ("Conv", (1, 3, 8, 8), [(8, 3, 3, 3)], {}, 8 * 6 * 6 * 27),
    # two groups: out [2,8,4,4], each of 2*3*3
    ("Conv", (2, 4, 4, 4), [(8, 2, 3, 3)], {"group": 2, "pads": [1, 1, 1, 1]}, 2 * 8 * 4 * 4 * 18),
    # depthwise, stride 2: out [1,4,4,4], each of 1*3*3
    ("Conv", (1, 4, 8, 8), [(4, 1, 3, 3)], {"group": 4, "strides": [2, 2], "pads": [1] * 4}, 4 * 4 * 4 * 9),
    # dilation 2: a 3x3 kernel spans 5, out [1,2,4,4], still 9 taps of 3 channels
    ("Conv", (1, 3, 8, 8), [(2, 3, 3, 3)], {"dilations": [2, 2]}, 2 * 4 * 4 * 27),
    # 1-D: out [1,5,8], each of 2*3
    ("Conv", (1, 2, 10), [(5, 2, 3)], {}, 5 * 8 * 6),
    # every input element (1*4*5*5) goes into 6*2*2 products
    ("ConvTranspose", (1, 4, 5, 5), [(4, 6, 2, 2)], {"strides": [2, 2]}, 100 * 24),
    # two groups: 4*5*5 inputs into 3*2*2 each
    ("ConvTranspose", (1, 4, 5, 5), [(4, 3, 2, 2)], {"group": 2}, 100 * 12),
    ("Gemm", (3, 4), [(4, 5)], {}, 3 * 4 * 5),
    ("Gemm", (4, 3), [(5, 4)], {"transA": 1, "transB": 1}, 3 * 4 * 5),
    # batched, the batch broadcast over the weight: [2,7] x 3x4 . 4x5
    ("MatMul", (2, 7, 3, 4), [(4, 5)], {}, 2 * 7 * 3 * 4 * 5),
    # a vector by a matrix
    ("MatMul", (4,), [(4, 5)], {}, 4 * 5),
    # T=5, N=2: 10 steps, W 4*6*4 and R 4*6*6 numbers
    ("LSTM", (5, 2, 4), [(1, 24, 4), (1, 24, 6)], {"hidden_size": 6}, 10 * (96 + 144)),
    # bidirectional GRU: W 2*18*4, R 2*18*6
    ("GRU", (5, 2, 4), [(2, 18, 4), (2, 18, 6)], {"hidden_size": 6, "direction": "bidirectional"}, 10 * 360),
    # bij,jk->bik: 2*3*4*5
    ("Einsum", (2, 3, 4), [(4, 5)], {"equation": "bij,jk->bik"}, 120),
    ("Relu", (2, 3), [], {}, 0),
]


@pytest.mark.parametrize(("op", "shape", "weights", "attributes", "macs"), PRODUCTS)
def test_macs_are_those_counted_by_hand(
    op: str, shape: tuple[int, ...], weights: list[tuple[int, ...]], attributes: dict[str, Any], macs: int
) -> None:
    arrays = {f"w{index}": floats(*size) for index, size in enumerate(weights)}
    node = helper.make_node(op, ["x", *arrays], ["y"], "node", **attributes)
    model = model_of([node], {"x": shape}, arrays, ["y"])
    (cost,) = node_costs(model)
    assert cost.macs == macs
    assert cost.params == sum(int(np.prod(size)) for size in weights)
    assert cost.weight_bytes == 4 * cost.params


def test_a_symbolic_dim_makes_the_figures_unknown_and_names_the_node() -> None:
    node = helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    model = model_of([node], {"x": ("batch", 4)}, {"w": floats(4, 5)}, ["y"])
    (cost,) = node_costs(model)
    assert (cost.macs, cost.activation_bytes, cost.params) == (None, None, 20)
    assert count_work(model) is None
    assert peak_activation_bytes(model) is None
    assert count_macs(model) is None


def test_the_toy_network_sums_to_the_figure_worked_out_by_hand() -> None:
    proto = toy_cnn()
    model = ir.from_proto(proto)
    infer_shapes(model)
    # conv1 8*16*16*27, depthwise 8*16*16*9, Gemm 10*8
    assert sum(cost.macs or 0 for cost in node_costs(model)) == 55296 + 18432 + 80
    # conv1 216, conv2 72 + 8, fc 80 + 10, two BatchNorms of 4*8, two clip bounds
    assert sum(cost.params for cost in node_costs(model)) == 216 + 80 + 90 + 64 + 2


def test_a_weight_read_twice_counts_once() -> None:
    nodes = [helper.make_node("MatMul", [a, "w"], [b], b) for a, b in (("x", "h"), ("h", "y"))]
    model = model_of(nodes, {"x": (2, 4)}, {"w": floats(4, 4)}, ["y"])
    assert [cost.params for cost in node_costs(model)] == [16, 0]


def test_peak_memory_follows_the_life_of_each_value() -> None:
    """x [8] = 32 bytes; a, b, y of 32 each; b waits for x, so x, a, b are alive at once, then a, b, y."""
    nodes = [
        helper.make_node("Relu", ["x"], ["a"], "a"),
        helper.make_node("Neg", ["x"], ["b"], "b"),
        helper.make_node("Add", ["a", "b"], ["y"], "y"),
    ]
    assert peak_activation_bytes(model_of(nodes, {"x": (8,)}, {}, ["y"])) == 96
    chain = [helper.make_node("Relu", [a], [b], b) for a, b in (("x", "a"), ("a", "b"), ("b", "y"))]
    assert peak_activation_bytes(model_of(chain, {"x": (8,)}, {}, ["y"])) == 64
    assert peak_activation_bytes(model_of(chain, {"x": (8,)}, {}, ["a", "y"])) == 96


def quantized(data: str, *, weight_dtype: type, with_data: bool) -> ir.Model:
    """x -> [Q -> DQ] -> Conv(DQ(w)) -> y, and a float MatMul behind; Conv has 2*4*4*9 = 288 MACs."""
    weights: dict[str, np.ndarray] = {
        "s": np.array(0.1, np.float32),
        "z": np.array(0, np.int8),
        "wz": np.zeros((), weight_dtype),
        "w": np.ones((2, 1, 3, 3), weight_dtype),
        "m": floats(4, 3),
    }
    nodes = [
        helper.make_node("QuantizeLinear", ["x", "s", "z"], ["xq"], "q"),
        helper.make_node("DequantizeLinear", ["xq", "s", "z"], ["xd"], "dq"),
        helper.make_node("DequantizeLinear", ["w", "s", "wz"], ["wd"], "dw"),
        helper.make_node("Conv", ["xd" if with_data else "x", "wd"], ["c"], "conv", pads=[1] * 4),
        helper.make_node("MatMul", ["c", "m"], ["y"], "float"),
    ]
    return model_of(nodes, {data: (1, 1, 4, 4)}, weights, ["y"])


def test_macs_are_int8_only_where_data_and_weight_both_are() -> None:
    # MatMul [1,2,4,4] x [4,3]: 2*4*4*3 = 96
    assert count_macs(quantized("x", weight_dtype=np.int8, with_data=True)) == MacShare(288, 384)
    assert count_macs(quantized("x", weight_dtype=np.uint8, with_data=True)) == MacShare(288, 384)
    assert count_macs(quantized("x", weight_dtype=np.int8, with_data=False)) == MacShare(0, 384, 288)
    assert count_macs(quantized("x", weight_dtype=np.int32, with_data=True)) == MacShare(0, 384)
    model = quantized("x", weight_dtype=np.int8, with_data=True)
    assert count_macs(model, {node for node in model.graph if node.name == "conv"}) == MacShare(0, 384)


def test_integer_ops_count_as_int8() -> None:
    graph = helper.make_graph(
        [helper.make_node("MatMulInteger", ["x", "w"], ["y"], "product")],
        "integer",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, [3, 4])],
        [helper.make_tensor_value_info("y", TensorProto.INT32, [3, 5])],
        [numpy_helper.from_array(np.ones((4, 5), np.int8), "w")],
    )
    model = ir.from_proto(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))
    assert count_macs(model) == MacShare(60, 60)
