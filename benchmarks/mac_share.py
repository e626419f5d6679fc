"""Counts the multiply-accumulates of a Q/DQ ONNX file that are int8: one counter for edgekit and its peers.

Independent of edgekit's own counter on purpose. A Conv, ConvTranspose, Gemm or MatMul counts as int8
when both of its operands come out of a DequantizeLinear over 8-bit integers. Shapes are those of
one run on `feed`, so dynamic models are counted as they ran.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort
from onnx import numpy_helper

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    Shapes = Mapping[str, tuple[int, ...]]

_INT8 = (onnx.TensorProto.INT8, onnx.TensorProto.UINT8)
_OPS = ("Conv", "ConvTranspose", "Gemm", "MatMul")


def count_int8_share(model: Path, feed: Mapping[str, NDArray[np.float32]]) -> float:
    """Share of MACs with two int8 operands, 0..1."""
    proto = onnx.load(model)
    nodes = [node for node in proto.graph.node if node.op_type in _OPS]
    shapes = _observe_shapes(proto, nodes, feed)
    graph = _Graph(
        {name: node for node in proto.graph.node for name in node.output},
        {item.name: item.data_type for item in proto.graph.initializer},
    )
    macs = [(_count_macs(node, shapes), all(map(graph.is_int8, node.input[:2]))) for node in nodes]
    total = sum(count for count, _ in macs)
    return sum(count for count, int8 in macs if int8) / total if total else 0.0


def _observe_shapes(
    proto: onnx.ModelProto, nodes: list[onnx.NodeProto], feed: Mapping[str, NDArray[np.float32]]
) -> Shapes:
    """Run once with every operand and result of `nodes` as an output."""
    shapes = {item.name: tuple(item.dims) for item in proto.graph.initializer}
    for node in proto.graph.node:
        if node.op_type == "Constant" and node.attribute[0].name == "value":
            shapes[node.output[0]] = numpy_helper.to_array(node.attribute[0].t).shape
    shapes |= {name: values.shape for name, values in feed.items()}
    wanted = {name for node in nodes for name in (*node.input[:2], *node.output)} - shapes.keys()
    known = {output.name for output in proto.graph.output}
    proto.graph.output.extend(onnx.ValueInfoProto(name=name) for name in sorted(wanted - known))
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(proto.SerializeToString(), options, providers=["CPUExecutionProvider"])
    names = sorted(wanted | known)
    return shapes | {
        name: np.asarray(value).shape
        for name, value in zip(names, session.run(names, dict(feed)), strict=True)
    }


def _count_macs(node: onnx.NodeProto, shapes: Shapes) -> int:
    """Multiply-accumulates of one node, from the definition of its op."""
    weight, result = shapes[node.input[1]], shapes[node.output[0]]
    if node.op_type == "Conv":
        return math.prod(result) * math.prod(weight[1:])
    if node.op_type == "ConvTranspose":
        return math.prod(shapes[node.input[0]]) * math.prod(weight[1:])
    depth = shapes[node.input[0]][-1]
    if node.op_type == "Gemm" and any(a.name == "transA" and a.i for a in node.attribute):
        depth = shapes[node.input[0]][0]
    return math.prod(result) * depth


@dataclass(frozen=True)
class _Graph:
    """Tensor -> the node that makes it, and initializer -> its element type."""

    makers: Mapping[str, onnx.NodeProto]
    types: Mapping[str, int]

    def is_int8(self, name: str) -> bool:
        """Whether a tensor is restored from 8-bit integers, perhaps through a Reshape or Transpose."""
        node = self.makers.get(name)
        while node is not None and node.op_type in ("Reshape", "Transpose", "Squeeze", "Unsqueeze"):
            node = self.makers.get(node.input[0])
        return (
            node is not None and node.op_type == "DequantizeLinear" and self._type_of(node.input[0]) in _INT8
        )

    def _type_of(self, codes: str) -> int | None:
        """Of an initializer, a Constant or a QuantizeLinear's result: ONNX's uint8 without a zero-point."""
        node = self.makers.get(codes)
        if node is None:
            return self.types.get(codes)
        if node.op_type == "Constant":
            return int(node.attribute[0].t.data_type)
        if node.op_type != "QuantizeLinear":
            return self._type_of(node.input[0])
        return self._type_of(node.input[2]) if len(node.input) > 2 else onnx.TensorProto.UINT8
