"""The last Softmax or Sigmoid of a graph -> float32 on the CPU, behind the context in the same ONNX file.

The HTP computes it in float16: three digits, where a Q/DQ graph that is within a decibel of the HTP's scores
has seven. Of a few thousand numbers it costs a CPU some microseconds, and the scores leave the HTP as the
codes they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_tensor, static_shape
from edgekit.passes.remove_unused import remove_unused
from edgekit.passes.serialize_model import serialize_model

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence
    from pathlib import Path

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
            if all(not value.is_graph_input() for one in part for value in _computed(one)):
                chosen |= part
    works = any(node not in chosen and node.op_type not in _QUANTIZERS for node in model.graph)
    return [node for node in model.graph if node in chosen] if works else []


def cut_tail(model: ir.Model, tail: Sequence[ir.Node]) -> ir.Model:
    """A clone that ends in what the tail reads."""
    gone = {node.outputs[0].name for node in tail}
    entries = dict.fromkeys(value.name for node in tail for value in _computed(node))
    clone = model.clone()
    graph = clone.graph
    values = {value.name: value for node in graph for value in node.outputs}
    kept = [value for value in graph.outputs if value.name not in gone]
    names = {value.name for value in kept}
    kept += [values[name] for name in entries if name not in gone | names]
    graph.outputs[:] = kept
    remove_unused(clone)
    return clone


def append_tail(path: Path, model: ir.Model, tail: Sequence[ir.Node]) -> None:
    """Put the tail of `model` behind the context in the file `path`, with the model's own outputs."""
    context = ir.load(path)
    graph, names = context.graph, Names(context)
    made = {value.name: value for node in graph for value in node.outputs}
    for node in tail:
        inputs = [_take_input(value, made, graph, names) for value in node.inputs]
        attributes = list(node.attributes.values())
        new = ir.Node(node.domain, node.op_type, inputs, attributes, name=node.name, num_outputs=1)
        old, value = node.outputs[0], new.outputs[0]
        value.name, value.shape, value.type = old.name, old.shape, old.type
        made[old.name] = value
        graph.append(new)
    graph.outputs[:] = [made[value.name] for value in model.graph.outputs]
    path.write_bytes(serialize_model(context))


def _may_stay(node: ir.Node, most: float) -> bool:
    """Whether it is an operator of such a tail, on float32 and on few numbers."""
    if node.domain or len(node.outputs) != 1:
        return False
    known = node.op_type in _SATURATES | _SHAPES_ONLY | _PARTS or _is_factor(node)
    values = [*_computed(node), node.outputs[0]]
    return known and all(value.dtype == ir.DataType.FLOAT and _count(value) <= most for value in values)


def _is_factor(node: ir.Node) -> bool:
    """Whether it restores a tensor farther: an integer one's factors, which rounding was spread over."""
    makers = [value.producer() for value in _computed(node)]
    restored = [maker for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
    return node.op_type == "Mul" and len(makers) == len(restored) == 1


def _count(value: ir.Value) -> float:
    shape, count = static_shape(value), 1
    if shape is None:
        return float("inf")
    for dim in shape:
        count *= dim
    return count


def _computed(node: ir.Node) -> Iterator[ir.Value]:
    return (value for value in node.inputs if value is not None and constant_tensor(value) is None)


def _connected(start: ir.Node, late: Collection[ir.Node]) -> set[ir.Node]:
    """What hangs together with it among the late nodes, over their tensors."""
    found, waiting = {start}, [start]
    while waiting:
        node = waiting.pop()
        near = [value.producer() for value in _computed(node)]
        near += [reader for reader, _ in node.outputs[0].uses()]
        for other in near:
            if other is not None and other in late and other not in found:
                found.add(other)
                waiting.append(other)
    return found


def _take_input(
    value: ir.Value | None, made: dict[str | None, ir.Value], graph: ir.Graph, names: Names
) -> ir.Value | None:
    """The context's own value, or a constant that is new to its graph."""
    tensor = constant_tensor(value)
    if value is None or tensor is None:
        return None if value is None else made[value.name]
    return names.add_initializer(graph, f"{value.name}/behind", tensor.numpy())
