from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit.targets.litert.artifact_macs import op_names, read_file
from edgekit.targets.litert.session import LiteRTSession
from tests.targets.litert_models import Qdq, build, prepared, reference

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    import onnx

    from edgekit.targets.litert.session import Kernels

SX, SY = 0.03125, 0.0625


def weighted(
    op: str, shape: tuple[int, ...], *, axis: int, x: list[int], relu: str = "", **attributes: Any
) -> onnx.ModelProto:
    """x -> Q/DQ -> op with int8 weights and int32 bias (-> clamp) -> Q/DQ."""
    rng, q = np.random.default_rng(1), Qdq()
    source = q.pair("x", SX)
    weight, scales = q.weight("w", rng.standard_normal(shape).astype(np.float32) * 0.3, axis)
    bias = q.bias("b", rng.standard_normal(shape[axis]).astype(np.float32), SX * scales.astype(np.float64))
    made = q.op(op, [source, weight, bias], "made", **attributes)
    if relu == "Clip":
        q.weights |= {"low": np.array(0, np.float32), "high": np.array(6, np.float32)}
        made = q.op("Clip", [made, "low", "high"], "clamped")
    elif relu:
        made = q.op(relu, [made], "clamped")
    return q.model({"x": x}, q.pair(made, SY))


def two(op: str, one: list[int], other: list[int]) -> onnx.ModelProto:
    q = Qdq()
    made = q.op(op, [q.pair("x", SX), q.pair("x2", 0.02)], "made")
    return q.model({"x": one, "x2": other}, q.pair(made, SY))


def single(
    op: str,
    x: list[int],
    *,
    out: float = SX,
    weights: dict[str, np.ndarray] | None = None,
    left_out: int = 0,
    **attributes: Any,
) -> onnx.ModelProto:
    q = Qdq()
    q.weights |= weights or {}
    inputs = [q.pair("x", SX), *([""] * left_out), *(weights or {})]
    return q.model({"x": x}, q.pair(q.op(op, inputs, "made", **attributes), out))


def ints(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


def concat() -> onnx.ModelProto:
    q = Qdq()
    made = q.op("Concat", [q.pair("x", SX), q.pair("x2", SX)], "made", axis=1)
    return q.model({"x": [1, 4, 6, 6], "x2": [1, 2, 6, 6]}, q.pair(made, SX))


IMAGE = [1, 4, 12, 10]
KERNELS: tuple[Kernels, ...] = ("xnnpack", "reference")
# name -> (model, the operator that must be there, how many QUANTIZE + DEQUANTIZE stand around it)
OPS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "conv": (lambda: weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE), "CONV_2D"),
    "conv-relu": (lambda: weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE, relu="Relu"), "CONV_2D"),
    "conv-relu6": (lambda: weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE, relu="Clip"), "CONV_2D"),
    "conv-strided-padded": (
        lambda: weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE, strides=[2, 2], pads=[1, 1, 1, 1]),
        "CONV_2D",
    ),
    "conv-odd-pads": (
        lambda: weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE, pads=[2, 0, 1, 1]), "CONV_2D",
    ),
    "conv-grouped": (lambda: weighted("Conv", (8, 2, 3, 3), axis=0, x=IMAGE, group=2), "CONV_2D"),
    "conv-1d": (lambda: weighted("Conv", (8, 4, 3), axis=0, x=[1, 4, 20], pads=[1, 1]), "CONV_2D"),
    "depthwise": (
        lambda: weighted("Conv", (8, 1, 3, 3), axis=0, x=IMAGE, group=4, pads=[1, 1, 1, 1]),
        "DEPTHWISE_CONV_2D",
    ),
    "conv-transpose": (
        lambda: weighted("ConvTranspose", (4, 6, 2, 2), axis=1, x=IMAGE, strides=[2, 2]), "TRANSPOSE_CONV",
    ),
    "conv-transpose-padded": (
        lambda: weighted("ConvTranspose", (4, 6, 3, 3), axis=1, x=IMAGE, strides=[2, 2], pads=[1, 1, 1, 1]),
        "TRANSPOSE_CONV",
    ),
    "gemm": (lambda: weighted("Gemm", (7, 16), axis=0, x=[5, 16], transB=1), "FULLY_CONNECTED"),
    "add": (lambda: two("Add", IMAGE, IMAGE), "ADD"),
    "add-broadcast": (lambda: two("Add", IMAGE, [1, 4, 1, 1]), "ADD"),
    "sub": (lambda: two("Sub", IMAGE, IMAGE), "SUB"),
    "mul-gate": (lambda: two("Mul", IMAGE, [1, 4, 1, 1]), "MUL"),
    "matmul-computed": (lambda: two("MatMul", [2, 3, 5, 8], [2, 3, 8, 6]), "BATCH_MATMUL"),
    "concat": (concat, "CONCATENATION"),
    "max-pool": (lambda: single("MaxPool", IMAGE, kernel_shape=[2, 2], strides=[2, 2]), "MAX_POOL_2D"),
    "max-pool-padded": (
        lambda: single("MaxPool", IMAGE, kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1]),
        "MAX_POOL_2D",
    ),
    "average-pool": (lambda: single("AveragePool", IMAGE, kernel_shape=[2, 2]), "AVERAGE_POOL_2D"),
    "global-average-pool": (lambda: single("GlobalAveragePool", IMAGE, out=0.01), "MEAN"),
    "reshape": (lambda: single("Reshape", IMAGE, weights={"shape": ints(1, 8, 60)}), "RESHAPE"),
    "transpose": (lambda: single("Transpose", [2, 3, 4], perm=[2, 0, 1]), "TRANSPOSE"),
    "slice": (
        lambda: single("Slice", IMAGE, weights={"s": ints(1), "e": ints(3), "a": ints(1)}), "SLICE",
    ),
    "resize-nearest": (
        lambda: single(
            "Resize", IMAGE, weights={"sizes": ints(1, 4, 24, 20)}, left_out=2, mode="nearest",
            coordinate_transformation_mode="asymmetric", nearest_mode="floor",
        ),
        "RESIZE_NEAREST_NEIGHBOR",
    ),
    "depth-to-space": (lambda: single("DepthToSpace", IMAGE, blocksize=2), "DEPTH_TO_SPACE"),
}  # fmt: skip


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    return {
        value.name: rng.standard_normal([dim.dim_value for dim in value.type.tensor_type.shape.dim]).astype(
            np.float32
        )
        for value in model.graph.input
    }


@pytest.mark.parametrize("name", OPS)
def test_a_quantized_op_is_one_int8_operator_within_a_step_of_the_reference(
    name: str, tmp_path: Path
) -> None:
    make, operator = OPS[name]
    model = make()
    artifact = build(prepared(model), tmp_path, "int8")
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert operator in names
    # Float stands at the borders alone: a QUANTIZE an input, a DEQUANTIZE an output.
    assert names.count("QUANTIZE") == len(model.graph.input)
    assert names.count("DEQUANTIZE") == 1
    feeds = feeds_of(model)
    want = reference(model, feeds)["y"]
    step = min(float(weights) for weights in _last_scale(model))
    for kernel in KERNELS:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        got = session.run(feeds)["y"].copy()
        assert got.shape == want.shape
        steps = np.abs(got - want) / step
        assert np.quantile(steps, 0.999) <= 1.001, kernel
        assert np.array_equal(got, session.run(feeds)["y"])


def _last_scale(model: onnx.ModelProto) -> list[np.ndarray]:
    from onnx import numpy_helper

    name = model.graph.node[-2].input[1]
    return [numpy_helper.to_array(item) for item in model.graph.initializer if item.name == name]


def test_the_scales_in_the_file_are_those_of_the_graph_to_the_bit(tmp_path: Path) -> None:
    model = weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE)
    artifact = build(prepared(model), tmp_path, "int8")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    (graph,) = file.subgraphs
    (conv,) = [
        item
        for item in graph.operators
        if file.operatorCodes[item.opcodeIndex].builtinCode == schema.BuiltinOperator.CONV_2D
    ]
    data, weight, bias = (graph.tensors[index] for index in conv.inputs)
    result = graph.tensors[conv.outputs[0]]
    rng = np.random.default_rng(1)
    values = rng.standard_normal((8, 4, 3, 3)).astype(np.float32) * np.float32(0.3)
    scales = (np.abs(values).max((1, 2, 3)) / 127).astype(np.float32)
    assert np.array_equal(data.quantization.scale, np.array([SX], np.float32))
    assert np.array_equal(result.quantization.scale, np.array([SY], np.float32))
    assert np.array_equal(weight.quantization.scale, scales)
    assert np.array_equal(bias.quantization.scale, (SX * scales.astype(np.float64)).astype(np.float32))
    assert not np.any(weight.quantization.zeroPoint)
    assert {data.type, weight.type, result.type} == {schema.TensorType.INT8}
    assert bias.type == schema.TensorType.INT32


def test_macs_on_int8_data_and_weights_are_counted_by_hand_the_same(tmp_path: Path) -> None:
    artifact = build(prepared(weighted("Conv", (8, 4, 3, 3), axis=0, x=IMAGE)), tmp_path, "int8")
    assert artifact.macs is not None
    assert artifact.macs.int8 == artifact.macs.total == 10 * 8 * 8 * (4 * 9)


MOVING: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "max-pool": (lambda: single("MaxPool", IMAGE, out=0.05, kernel_shape=[2, 2]), "MAX_POOL_2D"),
    "reshape": (lambda: single("Reshape", IMAGE, out=0.02, weights={"shape": ints(1, 8, 60)}), "RESHAPE"),
    "transpose": (lambda: single("Transpose", [2, 3, 4], out=0.02, perm=[2, 0, 1]), "TRANSPOSE"),
    "pad": (lambda: single("Pad", IMAGE, out=0.05, weights={"p": ints(0, 0, 1, 1, 0, 0, 1, 2)}), "PAD"),
}


@pytest.mark.parametrize("name", MOVING)
def test_unequal_scales_around_a_moving_op_are_one_step_on_integers(name: str, tmp_path: Path) -> None:
    make, operator = MOVING[name]
    model = make()
    artifact = build(prepared(model), tmp_path, "int8")
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert operator in names
    assert (names.count("QUANTIZE"), names.count("DEQUANTIZE")) == (2, 1)
    feeds = feeds_of(model)
    step = float(_last_scale(model)[0])
    for kernel in KERNELS:
        got = LiteRTSession(tmp_path / artifact.main, kernel).run(feeds)["y"]
        # x codes times one factor: the graph rounds the same number, so they differ by ties alone.
        assert np.abs(got - reference(model, feeds)["y"]).max() <= step * 1.001, kernel


def test_a_chain_of_pointwise_ops_stays_float_between_dequantize_and_quantize(tmp_path: Path) -> None:
    q = Qdq()
    source = q.pair("x", SX)
    q.weights |= {
        "three": np.array(3, np.float32),
        "six": np.array(6, np.float32),
        "low": np.array(0, np.float32),
    }
    shifted = q.op("Add", [source, "three"], "shifted")
    gate = q.op("Clip", [shifted, "low", "six"], "gate")
    made = q.op("Div", [q.op("Mul", [source, gate], "product"), "six"], "made")
    model = q.model({"x": IMAGE}, q.pair(made, SX))
    artifact = build(prepared(model), tmp_path, "int8")
    feeds = feeds_of(model)
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    assert np.abs(got - reference(model, feeds)["y"]).max() <= SX * 1.001
    assert np.mean(got == reference(model, feeds)["y"]) > 0.999


def test_one_weight_under_two_scales_is_never_taken_for_one(tmp_path: Path) -> None:
    q = Qdq()
    source = q.pair("x", SX)
    q.weights |= {"w": np.arange(-8, 8, dtype=np.int8).reshape(4, 4)}
    q.weights |= {
        "a/s": np.array(0.1, np.float32),
        "b/s": np.array(0.3, np.float32),
        "z": np.array(0, np.int8),
    }
    one = q.op("DequantizeLinear", ["w", "a/s", "z"], "wa")
    other = q.op("DequantizeLinear", ["w", "b/s", "z"], "wb")
    left = q.op("MatMul", [source, one], "left")
    right = q.op("MatMul", [source, other], "right")
    model = q.model({"x": [3, 4]}, q.op("Sub", [q.pair(left, SY), q.pair(right, SY)], "made"))
    artifact = build(prepared(model), tmp_path, "int8")
    feeds = feeds_of(model)
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    assert np.abs(got - reference(model, feeds)["y"]).max() <= 2 * SY * 1.001


def test_a_product_that_nobody_quantizes_stays_float_but_its_weights_stay_int8_in_the_file(
    tmp_path: Path,
) -> None:
    rng, q = np.random.default_rng(3), Qdq()
    source = q.pair("x", SX)
    weight, _ = q.weight("w", rng.standard_normal((64, 96)).astype(np.float32), 1)
    model = q.model({"x": [5, 64]}, q.op("MatMul", [source, weight], "made"))
    artifact = build(prepared(model), tmp_path, "int8")
    assert artifact.macs is not None
    assert artifact.macs.int8 == 0 < artifact.macs.total
    assert (tmp_path / artifact.main).stat().st_size < 64 * 96 + 4000
    feeds = feeds_of(model)
    for kernel in ("xnnpack", "reference"):
        session = LiteRTSession(tmp_path / artifact.main, "xnnpack" if kernel == "xnnpack" else "reference")
        np.testing.assert_allclose(
            session.run(feeds)["y"], reference(model, feeds)["y"], rtol=1e-5, atol=1e-4
        )


def upsample(mode: str, *, sizes: tuple[int, int] = (24, 20), **attributes: Any) -> onnx.ModelProto:
    weights = {"sizes": ints(1, 4, *sizes)}
    return single("Resize", IMAGE, weights=weights, left_out=2, mode=mode, **attributes)


STAY_FLOAT: dict[str, Callable[[], onnx.ModelProto]] = {
    "linear resize": lambda: upsample("linear", sizes=(20, 18)),
    "cubic resize": lambda: upsample("cubic"),
    "dilated average": lambda: single("AveragePool", IMAGE, kernel_shape=[2, 2], dilations=[2, 2]),
}


@pytest.mark.parametrize("name", ["linear resize", "cubic resize", "dilated average"])
def test_what_has_no_int8_form_computes_in_float_between_its_scales(name: str, tmp_path: Path) -> None:
    model = STAY_FLOAT[name]()
    if name == "dilated average":
        model.opset_import[0].version = 19
    artifact = build(prepared(model), tmp_path, "int8")
    feeds = feeds_of(model)
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    steps = np.abs(got - reference(model, feeds)["y"]) / SX
    assert steps.max() <= 1.001
    assert np.mean(steps == 0) > 0.99
