"""Linear layers as convolutions, bounded masks and merged axes give what ONNX Runtime gave before."""

from __future__ import annotations

import itertools
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from onnx import TensorProto, helper, numpy_helper

from edgekit._qdq import QdqForm, insert_qdq
from edgekit._schemes import PORTABLE
from edgekit._values import Component, DimRange
from edgekit.passes.bound_masks import LOWEST_HALF, bound_masks
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.linear_to_conv import linear_to_conv
from edgekit.passes.merge_axes import merge_axes, merge_perm
from edgekit.passes.prepare_component import prepare_component
from edgekit.passes.serialize_model import serialize_model
from tests.models import (
    QUICK_SHAPES,
    assert_same_outputs,
    package_model,
    random_feeds,
    run_onnx,
    toy_attention,
    toy_cnn,
    toy_lstm,
)
from tests.qdq.qdq_nets import all_tensors, record_of, sqnr

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from edgekit._schemes import BiasForm, GemmOutput

RNG = np.random.default_rng(7)


def normal(*shape: int) -> np.ndarray:
    return RNG.standard_normal(shape).astype(np.float32)


def model_of(
    nodes: Sequence[onnx.NodeProto],
    x: Sequence[int],
    weights: Mapping[str, np.ndarray],
    outputs: Sequence[str] = ("y",),
    dtype: int = TensorProto.FLOAT,
) -> ir.Model:
    """x -> y, with shapes inferred, as a prepared model has them."""
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("x", dtype, x)],
        [helper.make_tensor_value_info(name, dtype, None) for name in outputs],
        [numpy_helper.from_array(array, name) for name, array in weights.items()],
    )
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ir.from_proto(onnx.shape_inference.infer_shapes(proto, strict_mode=True))


def node(op: str, inputs: str, output: str, **attributes: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs.split(), [output], f"{op}-{output}", **attributes)


def check(
    model: ir.Model, rewrite: Callable[[ir.Model], int], feeds: dict[str, np.ndarray], *, exact: bool = False
) -> tuple[int, Counter[str]]:
    """What the rewrite says it did, and the ops after it; outputs and their names are those of before."""
    want = run_onnx(model, feeds)
    count = rewrite(model)
    infer_shapes(model)
    onnx.checker.check_model(ir.to_proto(model), full_check=True)
    got = run_onnx(model, feeds)
    assert_same_outputs(got, want, rtol=1e-5, atol=1e-5)
    if exact:
        assert all(np.array_equal(got[name], want[name], equal_nan=True) for name in want)
    return count, Counter(one.op_type for one in model.graph)


@pytest.mark.parametrize("x", [(4, 6), (2, 5, 6), (2, 3, 5, 6)])
def test_a_matmul_by_a_weight_is_a_convolution_of_the_same_outputs(x: tuple[int, ...]) -> None:
    model = model_of([node("MatMul", "x w", "y")], x, {"w": normal(6, 3)})
    count, ops = check(model, linear_to_conv, {"x": normal(*x)})
    assert (count, ops["Conv"], ops["MatMul"]) == (1, 1, 0)


@pytest.mark.parametrize("bias", [None, (3,), (1, 3), (1,), ()])
@pytest.mark.parametrize(("trans_b", "alpha", "beta"), [(0, 1.0, 1.0), (1, 0.5, 2.0)])
def test_a_gemm_keeps_alpha_beta_and_its_bias(
    bias: tuple[int, ...] | None, trans_b: int, alpha: float, beta: float
) -> None:
    weights = {"w": normal(3, 6) if trans_b else normal(6, 3)}
    if bias is not None:
        weights["b"] = np.asarray(normal(*bias), np.float32)
    gemm = node("Gemm", " ".join(["x", *weights]), "y", transB=trans_b, alpha=alpha, beta=beta)
    count, ops = check(model_of([gemm], (4, 6), weights), linear_to_conv, {"x": normal(4, 6)})
    assert (count, ops["Gemm"]) == (1, 0)


@pytest.mark.parametrize(
    ("nodes", "x", "weights"),
    [
        ([node("Gemm", "x w b", "y")], (4, 6), {"w": normal(6, 3), "b": normal(4, 3)}),
        ([node("Gemm", "x w b", "y")], (4, 6), {"w": normal(6, 3), "b": normal(4, 1)}),
        ([node("Gemm", "x w", "y", transA=1)], (6, 4), {"w": normal(6, 3)}),
        ([node("MatMul", "x w", "y")], (2, 5, 6), {"w": normal(2, 6, 3)}),
        ([node("MatMul", "x w", "y")], (2, 5, 6), {"w": normal(6)}),
        ([node("MatMul", "w x", "y")], (6, 4), {"w": normal(3, 6)}),
        ([node("MatMul", "x w", "y")], (6,), {"w": normal(6, 3)}),
        ([node("MatMul", "x w", "y")], (1, 1, 2, 3, 6), {"w": normal(6, 3)}),
        ([node("MatMul", "x x", "y")], (4, 4), {}),
    ],
)
def test_what_is_no_such_layer_stays(
    nodes: list[onnx.NodeProto], x: tuple[int, ...], weights: dict[str, np.ndarray]
) -> None:
    count, ops = check(model_of(nodes, x, weights), linear_to_conv, {"x": normal(*x)}, exact=True)
    assert (count, ops["Conv"]) == (0, 0)


GELU = [
    node("Div", "h root", "g0"),
    node("Erf", "g0", "g1"),
    node("Add", "g1 one", "g2"),
    node("Mul", "h g2", "g3"),
    node("Mul", "g3 half", "a"),
]
SCALARS = {"root": np.float32(1.41421356), "one": np.float32(1), "half": np.float32(0.5)}


@pytest.mark.parametrize(
    ("between", "weights"),
    [
        ([node("Relu", "h", "a")], {}),
        ([node("Add", "h b", "a")], {"b": normal(8)}),
        ([node("Mul", "h b", "a")], {"b": normal(1, 1, 8)}),
        ([node("Softmax", "h", "a", axis=-1)], {}),
        ([node("Softmax", "h", "a", axis=2)], {}),
        ([node("Clip", "h lo", "a")], {"lo": np.float32(-0.25)}),
        (GELU, SCALARS),
    ],
)
def test_a_chain_enters_and_leaves_the_layout_once(
    between: list[onnx.NodeProto], weights: dict[str, np.ndarray]
) -> None:
    nodes = [node("MatMul", "x w1", "h"), *between, node("MatMul", "a w2", "y")]
    arrays = {
        "w1": normal(6, 8),
        "w2": normal(8, 6),
        **{key: np.asarray(one) for key, one in weights.items()},
    }
    count, ops = check(model_of(nodes, (2, 5, 6), arrays), linear_to_conv, {"x": normal(2, 5, 6)})
    assert (count, ops["Conv"], ops["Transpose"], ops["Unsqueeze"], ops["Squeeze"]) == (2, 2, 2, 1, 1)


@pytest.mark.parametrize(
    ("between", "weights"),
    [
        ([node("Add", "h b", "a")], {"b": normal(5, 8)}),
        ([node("Add", "h b", "a")], {"b": normal(5, 1)}),
        ([node("Softmax", "h", "a", axis=1)], {}),
        ([node("Add", "h x2", "a"), node("Mul", "x w3", "x2")], {"w3": normal(2, 5, 1)}),
    ],
)
def test_what_the_layout_would_change_is_computed_outside_it(
    between: list[onnx.NodeProto], weights: dict[str, np.ndarray]
) -> None:
    nodes = [node("MatMul", "x w1", "h"), *sorted(between, key=lambda one: one.op_type != "Mul")]
    nodes.append(node("MatMul", "a w2", "y"))
    arrays = {"w1": normal(8, 8), "w2": normal(8, 6), **weights}
    count, ops = check(model_of(nodes, (2, 5, 8), arrays), linear_to_conv, {"x": normal(2, 5, 8)})
    assert (count, ops["Transpose"]) == (2, 4)


def test_a_value_that_is_an_output_too_keeps_its_name_and_layout() -> None:
    nodes = [node("MatMul", "x w", "h"), node("Relu", "h", "y")]
    model = model_of(nodes, (2, 5, 6), {"w": normal(6, 3)}, outputs=("h", "y"))
    assert check(model, linear_to_conv, {"x": normal(2, 5, 6)})[0] == 1


def test_layers_that_read_one_value_enter_the_layout_together() -> None:
    nodes = [node("MatMul", f"x w{name}", name) for name in "qkv"]
    nodes.append(helper.make_node("Concat", ["q", "k", "v"], ["y"], "join", axis=-1))
    weights = {f"w{name}": normal(6, 6) for name in "qkv"}
    _, ops = check(model_of(nodes, (2, 5, 6), weights), linear_to_conv, {"x": normal(2, 5, 6)})
    assert (ops["Conv"], ops["Unsqueeze"]) == (3, 1)


@pytest.mark.parametrize(("per_output", "trans_b"), [(False, 0), (False, 1), (True, 0), (True, 1)])
def test_quantized_layers_stay_quantized_with_the_very_same_codes(per_output: bool, trans_b: int) -> None:
    """Q/DQ -> MatMul with int8 weights -> Q/DQ: the convolution reads DequantizeLinear on both sides."""
    axis = 0 if trans_b else 1
    codes = RNG.integers(-127, 128, (8, 6) if trans_b else (6, 8)).astype(np.int8)
    weights: dict[str, Any] = {
        "s": np.float32(0.02),
        "z": np.int8(0),
        "w": codes,
        "ws": RNG.uniform(0.01, 0.02, 8).astype(np.float32) if per_output else np.float32(0.01),
        "wz": np.zeros(8, np.int8) if per_output else np.int8(0),
        "so": np.float32(0.0503),  # no product of the scales lies half-way between two steps
    }
    nodes = [
        node("QuantizeLinear", "x s z", "q"),
        node("DequantizeLinear", "q s z", "d"),
        node("DequantizeLinear", "w ws wz", "dw", axis=axis),
        node("Gemm", "d dw", "h", transB=trans_b),
        node("Relu", "h", "a"),
        node("QuantizeLinear", "a so z", "qa"),
        node("DequantizeLinear", "qa so z", "y"),
    ]
    arrays = {key: np.asarray(one) for key, one in weights.items()}
    model = model_of(nodes, (4, 6), arrays)
    count, ops = check(model, linear_to_conv, {"x": normal(4, 6)})
    assert (count, ops["Conv"], ops["Gemm"]) == (1, 1, 0)
    conv = next(one for one in model.graph if one.op_type == "Conv")
    makers = [value.producer() for value in conv.inputs[:2] if value is not None]
    assert [None if maker is None else maker.op_type for maker in makers] == ["DequantizeLinear"] * 2
    relu = next(user for user, _ in conv.outputs[0].uses())
    assert [user.op_type for user, _ in relu.outputs[0].uses()] == ["QuantizeLinear"]


def test_weights_quantized_per_input_channel_stay_a_gemm() -> None:
    weights: dict[str, np.ndarray] = {
        "w": RNG.integers(-9, 9, (6, 8)).astype(np.int8),
        "ws": np.full(6, 0.1, np.float32),
    }
    nodes = [node("DequantizeLinear", "w ws", "dw", axis=0), node("Gemm", "x dw", "y")]
    assert check(model_of(nodes, (4, 6), weights), linear_to_conv, {"x": normal(4, 6)})[0] == 0


REAL = {
    "ppocr-rec": 9,
    "ppocr-cls": 1,
    "ppocr-det": 0,
    "magika": 2,
    "basic-pitch": 0,
    "silero-openvino-16k": 0,
}


@pytest.mark.parametrize("name", REAL)
def test_real_models_keep_their_outputs(name: str) -> None:
    component, feeds = prepared(name)

    def rewrite(given: ir.Model) -> int:
        merge_axes(given)
        bound_masks(given, LOWEST_HALF)
        return linear_to_conv(given)

    assert check(component.model, rewrite, feeds)[0] == REAL[name]


@pytest.mark.parametrize("toy", [toy_cnn, toy_lstm, toy_attention])
def test_toys_keep_their_outputs(toy: Callable[[], onnx.ModelProto]) -> None:
    model = prepare_component(Component("model", ir.from_proto(toy()), "0"), shapes={}).model
    value = model.graph.inputs[0]
    assert value.shape is not None
    feeds = {value.name or "": normal(*value.shape.numpy())}
    count, ops = check(model, linear_to_conv, feeds)
    assert count == ops["Conv"] - (2 if toy is toy_cnn else 0) > 0


def prepared(name: str) -> tuple[Component, dict[str, np.ndarray]]:
    if name == "toy-attention":
        component = prepare_component(Component("model", ir.from_proto(toy_attention()), "0"), shapes={})
        return component, {"x": normal(2, 5, 8)}
    path = package_model(name)
    shapes = {key: tuple(DimRange(size, size) for size in dims) for key, dims in QUICK_SHAPES[name].items()}
    component = prepare_component(Component("model", ir.load(path), "0"), shapes=shapes)
    return component, random_feeds(QUICK_SHAPES[name], path)


@pytest.mark.parametrize(("gemm_output", "bias"), [("float", "float"), ("int8", "int32")])
@pytest.mark.parametrize("name", ["toy-attention", "magika", "ppocr-rec", "ppocr-cls"])
def test_quantized_models_keep_their_codes_and_their_outputs(
    name: str, gemm_output: GemmOutput, bias: BiasForm
) -> None:
    component, feeds = prepared(name)
    tensors = all_tensors(onnx.load_from_string(serialize_model(component.model)), feeds)
    record = record_of({key: np.nan_to_num(values) for key, values in tensors.items()})  # masks are -inf
    form = QdqForm(PORTABLE, bias=bias, gemm_output=gemm_output)
    model = insert_qdq(component, record, form=form).component.model
    want, codes = run_onnx(model, feeds), codes_of(model)
    products = {one.name for one in model.graph if one.op_type == "Conv"}
    assert linear_to_conv(model) > 0
    infer_shapes(model)
    got = run_onnx(model, feeds)
    # Sums in another order may end on the other side of a rounding step, here and there.
    assert all(sqnr(want[key], got[key]) > 30 for key in want)
    assert codes_of(model) == codes
    made = [one for one in model.graph if one.op_type == "Conv" and one.name not in products]
    weights = [conv.inputs[1].producer() for conv in made if conv.inputs[1] is not None]
    assert any(maker is not None and maker.op_type == "DequantizeLinear" for maker in weights)
    for conv, maker in zip(made, weights, strict=True):
        data = conv.inputs[0].producer() if conv.inputs[0] is not None else None
        if maker is not None:
            assert data is not None
            assert data.op_type == "DequantizeLinear", conv.name


def codes_of(model: ir.Model) -> list[bytes]:
    """The integer weights, whatever their order and shape."""
    tensors = [value.const_value for value in model.graph.initializers.values()]
    arrays = [tensor.numpy() for tensor in tensors if tensor is not None and len(tensor.shape) > 1]
    return sorted(np.sort(array, axis=None).tobytes() for array in arrays if array.dtype == np.int8)


MASK = np.triu(np.full((5, 5), -np.inf, np.float32), 1)
SOFT = [node("Add", "x m", "s"), node("Softmax", "s", "y", axis=-1)]


@pytest.mark.parametrize(
    ("nodes", "mask"),
    [
        (SOFT, MASK),
        ([node("Where", "c x m", "s"), node("Softmax", "s", "y", axis=-1)], np.float32(-np.inf)),
        (
            [
                node("Where", "c z m", "w"),
                node("Unsqueeze", "w zero", "u"),
                node("Add", "x u", "s"),
                node("Softmax", "s", "y", axis=-1),
            ],
            np.float32(-np.inf),
        ),
    ],
)
def test_an_infinite_mask_becomes_finite_and_no_bit_of_the_output_changes(
    nodes: list[onnx.NodeProto], mask: np.ndarray
) -> None:
    arrays: dict[str, Any] = {
        "m": np.asarray(mask),
        "c": np.isfinite(MASK),
        "z": np.float32(0),
        "zero": np.array([0]),
    }
    weights = {key: np.asarray(one) for key, one in arrays.items() if any(key in one.input for one in nodes)}
    model = model_of(nodes, (2, 5, 5), weights)
    count, _ = check(model, bound_masks, {"x": 50 * normal(2, 5, 5)}, exact=True)
    assert count == 1
    left = [value.const_value.numpy() for value in model.graph.initializers.values() if value.const_value]
    assert all(np.all(np.isfinite(one)) for one in left if one.dtype.kind == "f")
    assert any(np.any(one == -40000) for one in left)


@pytest.mark.parametrize("low", [-1e9, float(np.finfo(np.float32).min)])
def test_a_mask_below_float16_is_bounded_only_when_asked(low: float) -> None:
    mask = np.where(np.isinf(MASK), np.float32(low), MASK)
    model = model_of(SOFT, (2, 5, 5), {"m": mask})
    assert bound_masks(model) == 0
    assert check(model, lambda one: bound_masks(one, LOWEST_HALF), {"x": normal(2, 5, 5)}, exact=True)[0] == 1


@pytest.mark.parametrize(
    "nodes",
    [
        [node("Add", "x m", "s"), node("Exp", "s", "y")],
        [node("Add", "x m", "s"), node("Mul", "s s", "t"), node("Softmax", "t", "y", axis=-1)],
        [node("Add", "x m", "s"), node("Softmax", "s", "p", axis=-1), node("Max", "p m", "y")],
        [node("Add", "x m", "y"), node("Softmax", "y", "p", axis=-1)],
        [node("Max", "x m", "s"), node("Softmax", "s", "y", axis=-1)],
    ],
)
def test_an_infinity_that_does_anything_else_stays(nodes: list[onnx.NodeProto]) -> None:
    model = model_of(nodes, (2, 5, 5), {"m": MASK})
    assert check(model, bound_masks, {"x": normal(2, 5, 5)}, exact=True)[0] == 0


@pytest.mark.parametrize("scale", [0.5, 1000.0])
def test_a_quantized_mask_is_bounded_where_both_saturate(scale: float) -> None:
    nodes = [
        node("Add", "x m", "s"),
        node("QuantizeLinear", "s k z", "q"),
        node("DequantizeLinear", "q k z", "d"),
        node("Softmax", "d", "y", axis=-1),
    ]
    weights: dict[str, np.ndarray] = {
        "m": MASK,
        "k": np.asarray(np.float32(scale)),
        "z": np.asarray(np.int8(0)),
    }
    count, _ = check(model_of(nodes, (2, 5, 5), weights), bound_masks, {"x": normal(2, 5, 5)}, exact=True)
    assert count == (1 if scale < 300 else 0)


def shuffle(shape: Sequence[int], perm: Sequence[int], last: Sequence[int]) -> tuple[ir.Model, int]:
    size = int(np.prod(shape))
    weights: dict[str, np.ndarray] = {"a": np.array(shape, np.int64), "b": np.array(last, np.int64)}
    nodes = [node("Reshape", "x a", "r"), node("Transpose", "r", "t", perm=perm), node("Reshape", "t b", "y")]
    return model_of(nodes, (size,), weights), size


@pytest.mark.parametrize(
    ("shape", "perm", "last", "rank"),
    [
        ((1, 2, 2, 3, 4, 5), (0, 3, 4, 1, 5, 2), (1, 3, 8, 10), 4),  # a pixel shuffle
        ((1, 4, 3, 4, 3, 2), (0, 1, 3, 2, 4, 5), (16, 9, 2), 4),  # a window partition
        ((2, 3, 1, 4, 1, 5), (0, 2, 1, 3, 4, 5), (6, 20), 1),  # moves nothing
        ((2, 3, 4, 5, 6), (2, 3, 4, 0, 1), (120, 6), 2),
    ],
)
def test_axes_that_travel_together_are_merged_and_every_bit_stays(
    shape: tuple[int, ...], perm: tuple[int, ...], last: tuple[int, ...], rank: int
) -> None:
    model, size = shuffle(shape, perm, last)
    count, ops = check(model, merge_axes, {"x": normal(size)}, exact=True)
    assert (count, ops["Transpose"]) == (1, 1)
    turned = next(one for one in model.graph if one.op_type == "Transpose")
    assert turned.outputs[0].shape is not None
    assert len(turned.outputs[0].shape) == rank


def test_a_transpose_of_axes_that_all_go_their_own_way_stays() -> None:
    model, size = shuffle((2, 3, 2, 3, 2), (4, 3, 2, 1, 0), (72,))
    assert check(model, merge_axes, {"x": normal(size)}, exact=True)[0] == 0


def test_a_transpose_that_something_else_reads_stays() -> None:
    nodes = [
        node("Reshape", "x a", "r"),
        node("Transpose", "r", "t", perm=[0, 1, 3, 4, 2]),
        node("Relu", "t", "y"),
    ]
    model = model_of(nodes, (48,), {"a": np.array([2, 2, 3, 2, 2])})
    assert check(model, merge_axes, {"x": normal(48)}, exact=True)[0] == 0


def test_merged_shape_and_perm_move_data_as_numpy_moves_it() -> None:
    for perm in itertools.permutations(range(5)):
        shape = (2, 1, 3, 2, 4)
        sizes, merged = merge_perm(shape, perm)
        data = np.arange(48)
        want = data.reshape(shape).transpose(perm).ravel()
        assert np.array_equal(data.reshape(sizes).transpose(merged).ravel(), want), perm
        assert len(sizes) <= 4
