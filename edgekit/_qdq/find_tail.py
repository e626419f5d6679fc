"""The last Softmax or Sigmoid of a graph in float: what ends in outputs alone, and is small."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.passes._rewire import constant_tensor, static_shape

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

# Inputs and outputs of a node that stays: 214 to 1000 in classifiers; a recognizer's 265,000 are the HTP's.
TINY = 16_384
_SATURATES = frozenset({"Softmax", "LogSoftmax", "Sigmoid", "Exp"})
_SHAPES_ONLY = frozenset({"Reshape", "Flatten", "Squeeze", "Unsqueeze", "Transpose", "Identity"})
# Of a Softmax that is written out.
_PARTS = frozenset({"Div", "Log", "Max", "ReduceMax", "ReduceSum", "Sub"})
_QUANTIZERS = frozenset({"QuantizeLinear", "DequantizeLinear"})


def find_tail(model: ir.Model, most: float = TINY) -> list[ir.Node]:
    """Float nodes that end in outputs alone, a Softmax or Sigmoid among what hangs together; in order.

    most: numbers that one of their inputs and outputs may have. [] where nothing would be left in front.
    """
    late: dict[ir.Node, None] = {}
    for node in reversed(list(model.graph)):
        if _may_stay(node, most) and all(reader in late for reader, _ in node.outputs[0].uses()):
            late[node] = None
    chosen: set[ir.Node] = set()
    for node in late:
        if node.op_type in _SATURATES and node not in chosen:
            part = _connected(node, late)
            if all(not value.is_graph_input() for one in part for value in computed_inputs(one)):
                chosen |= part
    works = any(node not in chosen and node.op_type not in _QUANTIZERS for node in model.graph)
    return [node for node in model.graph if node in chosen] if works else []


def _may_stay(node: ir.Node, most: float) -> bool:
    """Whether it is an operator of such a tail, on float32 and on few numbers."""
    if node.domain or len(node.outputs) != 1:
        return False
    known = node.op_type in _SATURATES | _SHAPES_ONLY | _PARTS or _is_factor(node)
    values = [*computed_inputs(node), node.outputs[0]]
    return known and all(value.dtype == ir.DataType.FLOAT and _count(value) <= most for value in values)


def _is_factor(node: ir.Node) -> bool:
    """Whether it restores a tensor farther: an integer one's factors, which rounding was spread over."""
    makers = [value.producer() for value in computed_inputs(node)]
    restored = [maker for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
    return node.op_type == "Mul" and len(makers) == len(restored) == 1


def _count(value: ir.Value) -> float:
    shape, count = static_shape(value), 1
    if shape is None:
        return float("inf")
    for dim in shape:
        count *= dim
    return count


def computed_inputs(node: ir.Node) -> Iterator[ir.Value]:
    """What the node reads that is no constant."""
    return (value for value in node.inputs if value is not None and constant_tensor(value) is None)


def _connected(start: ir.Node, late: Collection[ir.Node]) -> set[ir.Node]:
    """What hangs together with it among the late nodes, over their tensors."""
    found, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        near = [value.producer() for value in computed_inputs(node)]
        near += [reader for reader, _ in node.outputs[0].uses()]
        for other in near:
            if other is not None and other in late and other not in found:
                found.add(other)
                waiting.append(other)
    return found
