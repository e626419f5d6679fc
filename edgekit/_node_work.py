"""What each node of a prepared float model asks of a device: kind, MACs, channels, numbers moved."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._cost import NO_PARAMETERS, node_costs

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
# A picture has up to this many channels: colours, and a mask or a depth.
_PICTURE_CHANNELS = 4
# One-input functions that runtimes compute as a product is written, at no cost of their own.
_FOLDED = frozenset({"Relu", "Clip", "LeakyRelu", "PRelu"})


@dataclass(frozen=True)
class NodeWork:
    """One node: numbers, not bytes, so that any precision can be laid over them.

    read, written: computed numbers in and out (weights apart). inner: length of the summed axis of one
    output number. outer: output channels (columns), in `groups` groups. folded: costs nothing of its own,
    as an activation behind a product or a part of a Gelu that is written out. steps: of a recurrence, one
    after the other, in each direction. pixels: places of a picture of few channels that a convolution reads.
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
    groups: int = 1
    steps: int = 0
    pixels: int = 0


def list_work(model: ir.Model) -> tuple[NodeWork, ...] | None:
    """Every node in the model's order; None where a dim it needs is unknown."""
    found = []
    gelus = _gelu_parts(model)
    for node, cost in zip(model.graph, node_costs(model), strict=True):
        macs = cost.macs
        written = [count_elements(value) for value in node.outputs if value.name]
        if macs is None or any(number is None for number in written):
            return None
        total = sum(number or 0 for number in written)
        read = sum(
            count_elements(value) or 0
            for value in node.inputs
            if value is not None and value.const_value is None
        )
        outer = _channels(node)
        found.append(
            NodeWork(
                node.op_type, kind_of(node), macs, cost.params, read, total,
                inner=math.ceil(macs / total) if macs and total else 0, outer=outer if macs else 0,
                folded=_is_folded(node) or node in gelus, groups=_groups(node), steps=_steps(node),
                pixels=_pixels(node),
            )
        )  # fmt: skip
    return tuple(found)


def count_in_out(model: ir.Model) -> int:
    """Numbers that go into the model and come out of it; an open size counts as nothing."""
    values = [value for value in model.graph.inputs if not value.is_initializer()]
    return sum(count_elements(value) or 0 for value in (*values, *model.graph.outputs))


def count_looked_up(model: ir.Model) -> int:
    """Numbers of the tables that only Gathers read: an output layer may share an embedding's table."""
    tables = {
        value
        for node in model.graph
        if node.op_type == "Gather"
        for value in node.inputs[:1]
        if value is not None and value.const_value is not None and value.dtype not in NO_PARAMETERS
    }
    found = [
        value for value in tables if all(user.op_type == "Gather" and at == 0 for user, at in value.uses())
    ]
    return sum(count_elements(value) or 0 for value in found)


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
    groups = _groups(node)
    if groups == 1:
        return "dense"
    data = node.inputs[0]
    channels = data.shape[1] if data is not None and data.shape is not None else None
    return "depthwise" if groups == channels else "grouped"


def _groups(node: ir.Node) -> int:
    attribute = node.attributes.get("group") if node.op_type in _CONVOLUTIONS else None
    return attribute.as_int() if attribute is not None else 1


def _pixels(node: ir.Node) -> int:
    """Places of the input [n, c, ...] of a convolution where c is a picture's, else 0."""
    data = node.inputs[0] if node.op_type in _CONVOLUTIONS else None
    if data is None or data.shape is None or len(data.shape) < 4 or not data.shape.is_static():
        return 0
    batch, channels, *places = data.shape.numpy()
    return math.prod((batch, *places)) if channels <= _PICTURE_CHANNELS else 0


def _steps(node: ir.Node) -> int:
    """Sequence length times directions of an RNN, GRU or LSTM: X [length, batch, n], W [directions, ...]."""
    if node.op_type not in ("GRU", "LSTM", "RNN"):
        return 0
    data, weight = (node.inputs[index] for index in (0, 1))
    shapes = [None if value is None else value.shape for value in (data, weight)]
    sizes = [shape[0] for shape in shapes if shape is not None]
    return math.prod(size for size in sizes if isinstance(size, int)) if len(sizes) == 2 else 0


def _gelu_parts(model: ir.Model) -> set[ir.Node]:
    """The nodes around each Erf that make it a Gelu; runtimes compute them as one, and Erf stands for it."""
    parts: set[ir.Node] = set()
    for erf in (node for node in model.graph if node.op_type == "Erf"):
        before = erf.inputs[0].producer() if erf.inputs[0] is not None else None
        parts |= {before} if before is not None and before.op_type in ("Div", "Mul") else set()
        here = erf
        for ops in (("Add",), ("Mul",), ("Mul",)):
            users = [user for user, _ in here.outputs[0].uses()]
            if len(users) != 1 or users[0].op_type not in ops:
                break
            here = users[0]
            parts.add(here)
    return parts


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


def count_elements(value: ir.Value) -> int | None:
    """Numbers of a value; None where a size is open."""
    shape = value.shape
    return math.prod(shape.numpy()) if shape is not None and shape.is_static() else None
