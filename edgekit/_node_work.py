"""What each node of a prepared float model asks of a device: kind, MACs, channels, numbers moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._cost import node_costs

if TYPE_CHECKING:
    import onnx_ir as ir

Kind = Literal["dense", "depthwise", "grouped", "attention", "elementwise", "reduce", "layout", "view"]
_CONVOLUTIONS = frozenset({"Conv", "ConvTranspose", "ConvInteger", "FusedConv", "QLinearConv"})
_PRODUCTS = frozenset({"MatMul", "Gemm", "FusedMatMul", "Einsum"})
_VIEWS = frozenset(
    {"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Identity", "Shape", "Constant", "Cast", "Dropout"}
)
_LAYOUT = frozenset(
    {
        "Transpose", "Concat", "Slice", "Split", "Pad", "Gather", "GatherElements", "GatherND", "Expand",
        "Tile", "DepthToSpace", "SpaceToDepth", "Resize", "Upsample", "ScatterND", "ScatterElements",
        "Where", "GridSample",
    }
)  # fmt: skip
_REDUCING = frozenset(
    {
        "Softmax", "LogSoftmax", "LayerNormalization", "InstanceNormalization", "GroupNormalization",
        "RMSNormalization", "MaxPool", "AveragePool", "GlobalAveragePool", "GlobalMaxPool", "TopK", "ArgMax",
        "CumSum", "NonMaxSuppression",
    }
)  # fmt: skip
_KINDS: dict[str, Kind] = {
    "Attention": "attention",
    **dict.fromkeys(("GRU", "LSTM", "RNN"), "dense"),
    **dict.fromkeys(_VIEWS, "view"),
    **dict.fromkeys(_LAYOUT, "layout"),
    **dict.fromkeys(_REDUCING, "reduce"),
}
# One-input functions that runtimes compute as a product is written, at no cost of their own.
_FOLDED = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})


@dataclass(frozen=True)
class NodeWork:
    """One node: numbers, not bytes, so that any precision can be laid over them.

    read, written: computed numbers in and out (weights apart). inner: length of the summed axis of one
    output number. outer: output channels (columns). folded: costs nothing beside the product before it.
    """

    op: str
    kind: Kind
    macs: int
    weights: int
    read: int
    written: int
    inner: int
    outer: int
    folded: bool


def list_work(model: ir.Model) -> tuple[NodeWork, ...] | None:
    """Every node in the model's order; None where a dim it needs is unknown."""
    found = []
    for node, cost in zip(model.graph, node_costs(model), strict=True):
        macs = cost.macs
        written = [_elements(value) for value in node.outputs if value.name]
        if macs is None or any(number is None for number in written):
            return None
        total = sum(number or 0 for number in written)
        read = sum(
            _elements(value) or 0 for value in node.inputs if value is not None and value.const_value is None
        )
        outer = _channels(node)
        found.append(
            NodeWork(
                node.op_type, kind_of(node), macs, cost.params, read, total,
                inner=math.ceil(macs / total) if macs and total else 0, outer=outer if macs else 0,
                folded=_is_folded(node),
            )
        )  # fmt: skip
    return tuple(found)


def kind_of(node: ir.Node) -> Kind:
    """The kind of work; `attention` where both factors of a product are computed."""
    op = node.op_type
    if op in _CONVOLUTIONS:
        return _convolution_kind(node)
    if op in _PRODUCTS:
        factors = [value for value in node.inputs[:2] if value is not None]
        return "attention" if all(value.const_value is None for value in factors) else "dense"
    return _KINDS.get(op, "reduce" if op.startswith("Reduce") else "elementwise")


def _convolution_kind(node: ir.Node) -> Kind:
    attribute = node.attributes.get("group")
    group = attribute.as_int() if attribute is not None else 1
    if group == 1:
        return "dense"
    data = node.inputs[0]
    channels = data.shape[1] if data is not None and data.shape is not None else None
    return "depthwise" if group == channels else "grouped"


def _channels(node: ir.Node) -> int:
    """Output channels of a convolution (axis 1), columns of a product (the last axis)."""
    shape = node.outputs[0].shape
    if shape is None or not len(shape):
        return 1
    axis = 1 if node.op_type in _CONVOLUTIONS and len(shape) > 1 else len(shape) - 1
    size = shape[axis]
    return size if isinstance(size, int) else 1


def _is_folded(node: ir.Node) -> bool:
    producer = node.inputs[0].producer() if node.inputs and node.inputs[0] is not None else None
    return (
        node.op_type in _FOLDED
        and producer is not None
        and producer.op_type in (_CONVOLUTIONS | _PRODUCTS | {"Add"})
    )


def _elements(value: ir.Value) -> int | None:
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None
