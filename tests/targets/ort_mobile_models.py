"""Small models in Q/DQ form, made with onnx alone, and what plain ONNX Runtime says of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component
from edgekit.profiles.loader import load_device
from edgekit.target import Job
from edgekit.targets.ort_mobile import OrtMobile

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact, Precision

STEP = 0.04
DTYPES: dict[str, tuple[Any, int]] = {"u8": (np.uint8, 128), "s8": (np.int8, 0)}


class QdqGraph:
    """Builds one Q/DQ graph; `form` u8 has zero-points of 128, s8 of 0."""

    def __init__(self, form: str, seed: int = 0) -> None:
        self.dtype, self.zero = DTYPES[form]
        self.nodes: list[onnx.NodeProto] = []
        self.weights: list[onnx.TensorProto] = []
        self.rng = np.random.default_rng(seed)

    def constant(self, array: Any) -> str:
        name = f"k{len(self.weights)}"
        self.weights.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def op(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        name = f"{kind}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, **attributes))
        return name

    def qdq(self, value: str, scale: float = STEP, zero: int | None = None) -> str:
        zero_point = self.zero if zero is None or self.zero == 0 else zero
        params = [self.constant(np.float32(scale)), self.constant(np.array(zero_point, self.dtype))]
        return self.op("DequantizeLinear", [self.op("QuantizeLinear", [value, *params]), *params])

    def weight(self, shape: tuple[int, ...]) -> tuple[str, np.ndarray]:
        """A per-channel (axis 0) weight and its scales."""
        real = self.rng.normal(0, 1 / np.sqrt(np.prod(shape[1:])), shape).astype(np.float32)
        scale = np.abs(real).reshape(shape[0], -1).max(1).astype(np.float32) / 127
        codes = np.round(real / scale.reshape(-1, *[1] * (len(shape) - 1))).clip(-127, 127)
        stored = (codes + self.zero).astype(self.dtype)
        zeros = np.full(shape[0], self.zero, self.dtype)
        inputs = [self.constant(stored), self.constant(scale), self.constant(zeros)]
        return self.op("DequantizeLinear", inputs, axis=0), scale

    def bias(self, scale: np.ndarray) -> str:
        codes = self.rng.integers(-500, 500, len(scale)).astype(np.int32)
        inputs = [self.constant(codes), self.constant(scale), self.constant(np.zeros(len(scale), np.int32))]
        return self.op("DequantizeLinear", inputs, axis=0)

    def conv(self, value: str, out: int, channels: int, *, kernel: int = 3, group: int = 1) -> str:
        weight, scale = self.weight((out, channels // group, kernel, kernel))
        bias = self.bias((np.float32(STEP) * scale).astype(np.float32))
        return self.op("Conv", [value, weight, bias], pads=[kernel // 2] * 4, group=group)

    def model(self, output: str, shape: Sequence[int | str] = (1, 3, 12, 12)) -> onnx.ModelProto:
        graph = helper.make_graph(
            self.nodes,
            "qdq",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
            [helper.make_tensor_value_info(output, TensorProto.FLOAT, None)],
            self.weights,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def qdq_cnn(form: str, shape: Sequence[int | str] = (1, 3, 12, 12)) -> onnx.ModelProto:
    """Conv-Relu (fused), depthwise Conv-Clip (fused), Add, pools, Gemm: all edges quantized."""
    graph = QdqGraph(form)
    x = graph.qdq("x")
    zero = graph.constant(np.float32(0))
    first = graph.qdq(graph.op("Relu", [graph.conv(x, 8, 3)]), zero=0)
    deep = graph.conv(first, 8, 8, group=8)
    second = graph.qdq(graph.op("Clip", [deep, zero, graph.constant(np.float32(2))]))
    added = graph.qdq(graph.op("Add", [first, second]))
    pooled = graph.qdq(graph.op("MaxPool", [added], kernel_shape=[2, 2], strides=[2, 2]))
    mean = graph.qdq(graph.op("GlobalAveragePool", [pooled]))
    flat = graph.qdq(graph.op("Flatten", [mean]))
    weight, scale = graph.weight((10, 8))
    bias = graph.bias((np.float32(STEP) * scale).astype(np.float32))
    logits = graph.qdq(graph.op("Gemm", [flat, weight, bias], transB=1))
    return graph.model(logits, shape)


def component(model: onnx.ModelProto, name: str = "model") -> Component:
    return Component(name, ir.from_proto(model), "0" * 64)


def job(precision: Precision = "int8", **fields: Any) -> Job:
    target = OrtMobile()
    device = next(d for d in map(load_device, target.devices()) if d.name == "generic-ort-mobile")
    return Job(device, precision, **fields)


def build(model: onnx.ModelProto, folder: Any, precision: Precision = "int8", **fields: Any) -> Artifact:
    return OrtMobile().build([component(model)], job(precision, **fields), folder)[0]


def onnxruntime_graph(data: bytes) -> Any:
    """The main graph of a .ort file, through onnxruntime's own flatbuffer classes."""
    import_module("onnxruntime.tools.ort_format_model")  # puts the classes on the path
    classes: Any = import_module("ort_flatbuffers_py.fbs.InferenceSession")
    return classes.InferenceSession.GetRootAs(data).Model().Graph()
