"""Pointwise chains: elementwise nodes that are one function of one tensor (SiLU, hard swish, Gelu)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.placement import activation_inputs, place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Iterator

LONGEST = 64  # nodes; a real activation has about ten, and a longer chain is cut into pieces
_BINARY = frozenset(("Add", "Sub", "Mul", "Div"))


@dataclass(frozen=True)
class PointwiseChain:
    """Nodes (in graph order) that together map `input` to `output` value by value.

    `inner` are the tensors inside, read by no one else.
    """

    nodes: tuple[ir.Node, ...]
    input: ir.Value
    output: ir.Value
    inner: tuple[ir.Value, ...]
    opset: int


def find_chains(graph: ir.Graph) -> Iterator[PointwiseChain]:
    """Maximal chains, each a function of one activation whose inside nobody else reads."""
    taken: set[ir.Node] = set()
    positions = {node: index for index, node in enumerate(graph)}
    for node in reversed(graph):
        if node in taken or not _is_pointwise(node):
            continue
        members = _grow(node)
        if members:
            taken.update(members)
            yield _as_chain(sorted(members, key=positions.__getitem__), graph)


def _grow(last: ir.Node) -> list[ir.Node]:
    """Walk back from `last`, taking in producers; the largest set that has one input, or none."""
    members: dict[ir.Node, None] = {}
    outer: dict[ir.Value, None] = {}
    best = 0
    joining: ir.Node | None = last
    while joining is not None and len(members) < LONGEST:
        members[joining] = None
        outer.pop(joining.outputs[0], None)
        outer.update(dict.fromkeys(activation_inputs(joining)))
        if len(outer) == 1 and next(iter(outer)).dtype == ir.DataType.FLOAT:
            best = len(members)
        joining = _next_producer(outer, members)
    return list(members)[:best]


def _as_chain(nodes: list[ir.Node], graph: ir.Graph) -> PointwiseChain:
    inner = tuple(node.outputs[0] for node in nodes[:-1])
    opset = graph.opset_imports.get("", 17)
    return PointwiseChain(tuple(nodes), _outer_inputs(nodes)[0], nodes[-1].outputs[0], inner, opset)


def _next_producer(outer: Iterable[ir.Value], members: Collection[ir.Node]) -> ir.Node | None:
    """A pointwise producer all of whose readers are members already."""
    for value in outer:
        producer = value.producer()
        if producer is None or value.is_graph_output() or not _is_pointwise(producer):
            continue
        if all(reader in members for reader, _ in value.uses()):
            return producer
    return None


def _outer_inputs(members: list[ir.Node]) -> list[ir.Value]:
    inside = {node.outputs[0] for node in members}
    values = [value for node in members for value in activation_inputs(node) if value not in inside]
    return list(dict.fromkeys(values))


def _is_pointwise(node: ir.Node) -> bool:
    """Elementwise, one output, float, and no constant that would broadcast the result to another shape."""
    row = place(node)
    if row is None or len(node.outputs) != 1 or node.outputs[0].dtype != ir.DataType.FLOAT:
        return False
    if row.kind != "pointwise" and node.op_type not in _BINARY:
        return False
    inputs = activation_inputs(node)
    others = [value for value in node.inputs if value is not None and value not in inputs]
    if any(value.const_value is None for value in others):
        return False  # limits or slopes that are computed make it a function of more than one tensor
    return bool(inputs) and all(_keeps_shape(value, node.outputs[0]) for value in inputs)


def _keeps_shape(value: ir.Value, output: ir.Value) -> bool:
    return value.shape is not None and output.shape is not None and value.shape == output.shape
