"""Pointwise chains: elementwise nodes that are one function of one tensor (SiLU, hard swish, Gelu)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._qdq.placement import activation_inputs, place

if TYPE_CHECKING:
    from collections.abc import Iterator

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
    members = [last]
    best = members if _has_one_input(members) else []
    while (producer := _next_producer(members)) is not None:
        members = [*members, producer]
        best = members if _has_one_input(members) else best
    return best


def _as_chain(nodes: list[ir.Node], graph: ir.Graph) -> PointwiseChain:
    inner = tuple(node.outputs[0] for node in nodes[:-1])
    opset = graph.opset_imports.get("", 17)
    return PointwiseChain(tuple(nodes), _outer_inputs(nodes)[0], nodes[-1].outputs[0], inner, opset)


def _has_one_input(members: list[ir.Node]) -> bool:
    outer = _outer_inputs(members)
    return len(outer) == 1 and outer[0].dtype == ir.DataType.FLOAT


def _next_producer(members: list[ir.Node]) -> ir.Node | None:
    """A pointwise producer all of whose readers are members already."""
    for value in _outer_inputs(members):
        producer = value.producer()
        if producer is None or producer in members or not _is_pointwise(producer):
            continue
        readers = [user for user, _ in value.uses()]
        if not value.is_graph_output() and all(reader in members for reader in readers):
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
    return all(_keeps_shape(value, node.outputs[0]) for value in activation_inputs(node))


def _keeps_shape(value: ir.Value, output: ir.Value) -> bool:
    return value.shape is not None and output.shape is not None and value.shape == output.shape
