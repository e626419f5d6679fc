"""Small ONNX and Q/DQ models for the tests of target litert, and the way through it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx
import onnx_ir as ir
import onnxruntime as ort
from onnx import TensorProto, helper, numpy_helper

from edgekit._values import Component, Device, DimRange
from edgekit.passes.expand_functions import expand_functions
from edgekit.passes.prepare_component import prepare_component
from edgekit.target import Job
from edgekit.targets.litert import LiteRT

if TYPE_CHECKING:
    from edgekit._values import Artifact, Precision

TARGET = LiteRT()
DEVICE = Device("generic-litert", "Any", "litert", "litert-2.3", {})
RNG = np.random.default_rng(7)


def job(precision: Precision = "fp32") -> Job:
    return Job(DEVICE, precision)


def prepared(model: onnx.ModelProto | Path, shapes: dict[str, tuple[int, ...]] | None = None) -> Component:
    """The component as a convert hands it to the target."""
    given = {name: tuple(DimRange(size, size) for size in dims) for name, dims in (shapes or {}).items()}
    loaded = ir.load(model) if isinstance(model, Path) else ir.from_proto(model)
    component = prepare_component(Component("model", loaded, "0" * 64), shapes=given)
    expand_functions(component.model, TARGET.plan([component], job()).expand)
    return component


def build(component: Component, out: Path, precision: Precision = "fp32") -> Artifact:
    return TARGET.build([component], job(precision), out)[0]


def gaps_of(model: onnx.ModelProto, shapes: dict[str, tuple[int, ...]] | None = None) -> list[Any]:
    return TARGET.check([prepared(model, shapes)], job())


def model_of(
    nodes: list[onnx.NodeProto], inputs: dict[str, list[Any]], weights: dict[str, np.ndarray], opset: int = 17
) -> onnx.ModelProto:
    """A float model; its output is called y."""
    infos = [helper.make_tensor_value_info(name, TensorProto.FLOAT, dims) for name, dims in inputs.items()]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)]
    tensors = [numpy_helper.from_array(array, name) for name, array in weights.items()]
    graph = helper.make_graph(nodes, "g", infos, outputs, tensors)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def filled_model() -> onnx.ModelProto:
    """max(x + a plane of 1.5): with nothing folded, the plane is made when it runs."""
    value = numpy_helper.from_array(np.array([1.5], np.float32))
    nodes = [
        helper.make_node("ConstantOfShape", ["sizes"], ["plane"], "fill", value=value),
        helper.make_node("Add", ["plane", "x"], ["sum"], "add"),
        helper.make_node("ReduceMax", ["sum"], ["y"], "max", axes=[0], keepdims=0),
    ]
    return model_of(nodes, {"x": [1, 6]}, {"sizes": np.array([5, 6], np.int64)})


def reference(model: onnx.ModelProto, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """ONNX Runtime with every rewrite off: what the graph itself says."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = [value.name for value in session.get_outputs()]
    results: Any = session.run(names, feeds)
    return dict(zip(names, results, strict=True))


class Qdq:
    """Writes a Q/DQ graph: symmetric int8 activations, int8 weights per channel, int32 bias."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights: dict[str, np.ndarray] = {}

    def pair(self, value: str, scale: float) -> str:
        """value -> Q -> DQ; the restored value's name."""
        self.weights[f"{value}/s"] = np.array(scale, np.float32)
        self.weights[f"{value}/z"] = np.array(0, np.int8)
        parameters = [f"{value}/s", f"{value}/z"]
        self.nodes.append(helper.make_node("QuantizeLinear", [value, *parameters], [f"{value}/q"]))
        self.nodes.append(helper.make_node("DequantizeLinear", [f"{value}/q", *parameters], [f"{value}/dq"]))
        return f"{value}/dq"

    def weight(self, name: str, values: np.ndarray, axis: int) -> tuple[str, np.ndarray]:
        """int8 initializer and DQ along `axis`; (the restored value's name, the scales)."""
        others = tuple(i for i in range(values.ndim) if i != axis)
        scales = (np.abs(values).max(others) / 127).astype(np.float32)
        shape = [-1 if i == axis else 1 for i in range(values.ndim)]
        codes = np.clip(np.rint(values / scales.reshape(shape)), -127, 127).astype(np.int8)
        self._constant(name, codes, scales, axis)
        return f"{name}/dq", scales

    def bias(self, name: str, values: np.ndarray, units: np.ndarray) -> str:
        self._constant(name, np.rint(values / units).astype(np.int32), units.astype(np.float32), 0)
        return f"{name}/dq"

    def _constant(self, name: str, codes: np.ndarray, scales: np.ndarray, axis: int) -> None:
        self.weights |= {name: codes, f"{name}/s": scales, f"{name}/z": np.zeros(scales.shape, codes.dtype)}
        inputs = [name, f"{name}/s", f"{name}/z"]
        self.nodes.append(helper.make_node("DequantizeLinear", inputs, [f"{name}/dq"], axis=axis))

    def op(self, op: str, inputs: list[str], output: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(op, inputs, [output], **attributes))
        return output

    def model(self, inputs: dict[str, list[Any]], last: str) -> onnx.ModelProto:
        self.nodes.append(helper.make_node("Identity", [last], ["y"]))
        return model_of(self.nodes, inputs, self.weights)
