"""Activations, gates, affine chains and averages on int8 against the Q/DQ graph in ONNX Runtime."""

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

IMAGE = [1, 4, 12, 10]
KERNELS: tuple[Kernels, ...] = ("xnnpack", "reference")
RNG = np.random.default_rng(11)
# Channels lie last, as they do behind any convolution in LiteRT.
LAST = [1, 12, 10, 4]
CHANNELS = RNG.uniform(-2, 2, (1, 1, 1, 4)).astype(np.float32)
OFFSETS = RNG.uniform(-1, 1, 4).astype(np.float32)


def chain(
    *steps: tuple[str, Any], x: float = 0.05, y: float = 0.05, shape: list[int] | None = None, opset: int = 17
) -> onnx.ModelProto:
    """x -> Q/DQ -> steps (an op with its constant, or its attributes) -> Q/DQ."""
    q = Qdq()
    made = q.pair("x", x)
    for index, (op, given) in enumerate(steps):
        name = f"v{index}"
        if isinstance(given, dict):
            made = q.op(op, [made], name, **given)
        else:
            operands = [given] if not isinstance(given, list) else given
            for place, array in enumerate(operands):
                q.weights[f"{name}/{place}"] = np.asarray(array, np.float32)
            made = q.op(op, [made, *(f"{name}/{place}" for place in range(len(operands)))], name)
    model = q.model({"x": shape or LAST}, q.pair(made, y))
    model.opset_import[0].version = opset
    return model


def silu(x: float = 0.05) -> onnx.ModelProto:
    q = Qdq()
    source = q.pair("x", x)
    gate = q.op("Sigmoid", [source], "gate")
    return q.model({"x": IMAGE}, q.pair(q.op("Mul", [gate, source], "made"), x))


def hard_swish_by_parts() -> onnx.ModelProto:
    """x HardSigmoid(x, 1/6): a hard swish as exporters write it."""
    q = Qdq()
    source = q.pair("x", 0.05)
    gate = q.op("HardSigmoid", [source], "gate", alpha=1 / 6)
    return q.model({"x": IMAGE}, q.pair(q.op("Mul", [source, gate], "made"), 0.05))


def linear(*, activation: str = "") -> onnx.ModelProto:
    """MatMul, and the Add of its bias, as exporters write a linear layer."""
    q = Qdq()
    weight, _ = q.weight("w", RNG.standard_normal((16, 7)).astype(np.float32), 1)
    q.weights["b"] = RNG.standard_normal(7).astype(np.float32)
    made = q.op("Add", ["b", q.op("MatMul", [q.pair("x", 0.05), weight], "product")], "sum")
    made = q.op(activation, [made], "act") if activation else made
    return q.model({"x": [2, 5, 16]}, q.pair(made, 0.1))


def joined(*scales: float, out: float) -> onnx.ModelProto:
    """Parts of x, each under a scale of its own, side by side under one."""
    q = Qdq()
    x = q.pair("x", 0.05)
    parts = [q.pair(q.op("Mul", [x, f"f{i}"], f"m{i}"), scale) for i, scale in enumerate(scales)]
    q.weights |= {f"f{i}": np.array(scale * 20, np.float32) for i, scale in enumerate(scales)}
    return q.model({"x": IMAGE}, q.pair(q.op("Concat", parts, "made", axis=1), out))


def average(*, out: float = 0.0213, **attributes: Any) -> onnx.ModelProto:
    return chain(("AveragePool", {"kernel_shape": [3, 2], **attributes}), y=out, shape=IMAGE)


# name -> (model, the operator that must be there)
OPS: dict[str, tuple[Callable[[], onnx.ModelProto], str]] = {
    "sigmoid": (lambda: chain(("Sigmoid", {}), y=1 / 127), "LOGISTIC"),
    "tanh": (lambda: chain(("Tanh", {}), y=1 / 127), "TANH"),
    "hard-swish": (lambda: chain(("HardSwish", {})), "HARD_SWISH"),
    "hard-swish-by-parts": (hard_swish_by_parts, "HARD_SWISH"),
    "silu": (silu, "LOGISTIC"),
    "concat-unequal": (lambda: joined(0.05, 0.02, 0.07, out=0.07), "CONCATENATION"),
    "gelu": (lambda: chain(("Gelu", {}), opset=20), "GELU"),
    "gelu-tanh": (lambda: chain(("Gelu", {"approximate": "tanh"}), opset=20), "GELU"),
    "leaky-relu": (lambda: chain(("LeakyRelu", {"alpha": 0.1})), "LEAKY_RELU"),
    "prelu": (lambda: chain(("PRelu", np.abs(CHANNELS) / 2)), "PRELU"),
    "relu": (lambda: chain(("Relu", {}), y=0.03), "RELU"),
    "clip-0-6": (lambda: chain(("Clip", [0, 6]), y=0.06), "RELU6"),
    "mul-channels": (lambda: chain(("Mul", CHANNELS), y=0.04), "DEPTHWISE_CONV_2D"),
    "mul-add-relu": (
        lambda: chain(("Mul", CHANNELS), ("Add", OFFSETS), ("Relu", {})), "DEPTHWISE_CONV_2D",
    ),
    "sub-div-clip": (
        lambda: chain(("Sub", OFFSETS), ("Div", 0.7), ("Clip", [0, 6]), y=0.06), "DEPTHWISE_CONV_2D",
    ),
    "zero-channel": (
        lambda: chain(("Mul", CHANNELS * np.array([0, 1, 1, 0], np.float32)), ("Add", OFFSETS)),
        "DEPTHWISE_CONV_2D",
    ),
    "mul-rank-3": (
        lambda: chain(("Mul", np.tile(OFFSETS, 2)), shape=[2, 5, 8]), "DEPTHWISE_CONV_2D",
    ),
    "mul-number-rank-2": (lambda: chain(("Mul", 0.3), y=0.02, shape=[3, 20]), "DEPTHWISE_CONV_2D"),
    "add-one-channel": (lambda: chain(("Add", 0.3), shape=[3, 4, 5, 1]), "CONV_2D"),
    "hard-sigmoid": (lambda: chain(("HardSigmoid", {}), y=1 / 127), "DEPTHWISE_CONV_2D"),
    "gate": (lambda: chain(("Mul", CHANNELS), ("HardSigmoid", {}), y=0.0039), "DEPTHWISE_CONV_2D"),
    "average": (average, "DEPTHWISE_CONV_2D"),
    "average-strided": (lambda: average(strides=[2, 2]), "DEPTHWISE_CONV_2D"),
    "average-padded": (lambda: average(pads=[1, 1, 1, 0], count_include_pad=1), "DEPTHWISE_CONV_2D"),
    "average-valid": (lambda: average(auto_pad="VALID"), "DEPTHWISE_CONV_2D"),
    "linear": (linear, "FULLY_CONNECTED"),
    "linear-relu": (lambda: linear(activation="Relu"), "FULLY_CONNECTED"),
}  # fmt: skip


def feeds_of(model: onnx.ModelProto) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(5)
    (value,) = model.graph.input
    shape = [dim.dim_value for dim in value.type.tensor_type.shape.dim]
    return {"x": (2 * rng.standard_normal(shape)).astype(np.float32)}


def scale_of(model: onnx.ModelProto, node: int) -> np.float32:
    """The scale that the node (a Q or DQ) reads."""
    from onnx import numpy_helper

    name = model.graph.node[node].input[1]
    (found,) = [numpy_helper.to_array(item) for item in model.graph.initializer if item.name == name]
    return np.float32(found)


@pytest.mark.parametrize("name", OPS)
def test_it_computes_on_int8_within_a_step_of_the_reference(name: str, tmp_path: Path) -> None:
    make, operator = OPS[name]
    model = make()
    artifact = build(prepared(model), tmp_path, "int8")
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert operator in names
    assert names.count("DEQUANTIZE") == 1
    feeds = feeds_of(model)
    want, step = reference(model, feeds)["y"], scale_of(model, -2)
    for kernel in KERNELS:
        session = LiteRTSession(tmp_path / artifact.main, kernel)
        got = session.run(feeds)["y"].copy()
        steps = np.abs(got - want) / step
        assert got.shape == want.shape
        assert np.quantile(steps, 0.999) <= 1.001, kernel
        assert np.array_equal(got, session.run(feeds)["y"])


ONE_ROUNDING = (
    "mul-channels", "mul-add-relu", "sub-div-clip", "zero-channel", "mul-rank-3", "hard-sigmoid", "gate",
    "average", "average-padded", "linear", "linear-relu",
)  # fmt: skip


@pytest.mark.parametrize("name", ONE_ROUNDING)
def test_a_folded_chain_rounds_once_as_the_graph_does(name: str, tmp_path: Path) -> None:
    model = OPS[name][0]()
    artifact = build(prepared(model), tmp_path, "int8")
    feeds = feeds_of(model)
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    assert np.mean(np.abs(got - reference(model, feeds)["y"]) > scale_of(model, -2) / 2) < 0.01


@pytest.mark.parametrize("name", OPS)
def test_the_first_and_the_last_scale_in_the_file_are_the_graphs_to_the_bit(
    name: str, tmp_path: Path
) -> None:
    model = OPS[name][0]()
    artifact = build(prepared(model), tmp_path, "int8")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    (graph,) = file.subgraphs
    int8 = [tensor for tensor in graph.tensors if tensor.type == schema.TensorType.INT8]
    first, last = int8[0].quantization, int8[-1].quantization
    (quantize,) = [i for i, node in enumerate(model.graph.node) if node.input[0] == "x"]
    assert (first.scale.tolist(), first.zeroPoint.tolist()) == ([scale_of(model, quantize)], [0])
    assert (last.scale.tolist(), last.zeroPoint.tolist()) == ([scale_of(model, -2)], [0])


FIXED = {"sigmoid": (1 / 256, -128), "tanh": (1 / 128, 0), "silu": (1 / 256, -128)}


@pytest.mark.parametrize("name", FIXED)
def test_only_gates_have_a_scale_of_litert_s_own(name: str, tmp_path: Path) -> None:
    model = OPS[name][0]()
    artifact = build(prepared(model), tmp_path, "int8")
    schema, file = read_file((tmp_path / artifact.main).read_bytes())
    activations = {
        (float(tensor.quantization.scale[0]), int(tensor.quantization.zeroPoint[0]))
        for tensor in file.subgraphs[0].tensors
        if tensor.type == schema.TensorType.INT8
    }
    nodes = [i for i, node in enumerate(model.graph.node) if node.op_type == "QuantizeLinear"]
    assert activations - {(float(scale_of(model, node)), 0) for node in nodes} == {FIXED[name]}
    assert any("LiteRT's own scale 1/" in note for note in artifact.notes)


STAY_FLOAT: dict[str, Callable[[], onnx.ModelProto]] = {
    # 1/256 cannot hold what the graph's finer scale does.
    "small sigmoid": lambda: chain(("Sub", 6.0), ("Sigmoid", {}), y=0.0004),
    "small tanh": lambda: chain(("Mul", 0.001), ("Tanh", {}), y=0.0004),
    "elu of another alpha": lambda: chain(("Elu", {"alpha": 0.5})),
    "clamp that int8 does not end at": lambda: chain(("Mul", CHANNELS), ("Clip", [-1, 1])),
    "constant along rows": lambda: chain(("Mul", RNG.uniform(1, 2, (12, 1, 1)).astype(np.float32))),
    "average without its padding": lambda: average(pads=[1, 1, 1, 0]),
    "steep prelu": lambda: chain(("PRelu", np.abs(CHANNELS) * 3)),
    "hard swish that LiteRT cannot scale": lambda: chain(("HardSwish", {}), x=1.0, y=0.002),
    "softplus": lambda: chain(("Softplus", {})),
}


@pytest.mark.parametrize("name", STAY_FLOAT)
def test_what_int8_would_blur_computes_in_float_between_its_scales(name: str, tmp_path: Path) -> None:
    model = STAY_FLOAT[name]()
    artifact = build(prepared(model), tmp_path, "int8")
    names = op_names((tmp_path / artifact.main).read_bytes())
    assert (names.count("QUANTIZE"), names.count("DEQUANTIZE")) == (2, 2)
    feeds = feeds_of(model)
    got = LiteRTSession(tmp_path / artifact.main).run(feeds)["y"]
    steps = np.abs(got - reference(model, feeds)["y"]) / scale_of(model, -2)
    assert steps.max() <= 1.001
    assert np.mean(steps > 0.5) < 0.01
