"""Which nodes of the int8 islands compute on 16-bit activations: what was asked for, and what hangs on it.

Two nodes with a value between them that carries no Q/DQ are one kernel, and of one width. What only moves
values has the width of what it moves, so that nothing is rounded on the way.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._qdq.placement import activation_inputs, place

if TYPE_CHECKING:
    from collections.abc import Collection, Iterable, Mapping

    import onnx_ir as ir

    from edgekit._qdq.islands import Islands
    from edgekit._qdq.steering import Decision
    from edgekit._schemes import QuantParams, Scheme

_REASON = "16-bit activations, given by the search for --max-drop"
# Whether activations have 16 bits and weights 4 -> the precision in decision tables.
_PRECISIONS = {
    (False, False): "int8",
    (False, True): "int8x4",
    (True, False): "int16x8",
    (True, True): "int16x4",
}
_MOVING = ("carry", "group", "regroup")


@dataclass(frozen=True)
class Widths:
    """The nodes that compute in 16 bits, and each quantized tensor's parameters in both widths."""

    nodes: frozenset[ir.Node]
    narrow: Mapping[ir.Value, QuantParams]
    wide: Mapping[ir.Value, QuantParams]

    def is_wide(self, node: ir.Node | None) -> bool:
        return node in self.nodes

    def params(self, wide: bool) -> Mapping[ir.Value, QuantParams]:
        return self.wide if wide else self.narrow

    def own(self, value: ir.Value, inside: Collection[ir.Node]) -> QuantParams:
        """As its producer rounds it; what comes as float, as its readers do, 8 bits where there are both."""
        producer = value.producer()
        if producer in inside:
            return self.params(self.is_wide(producer))[value]
        readers = [node for node, _ in value.uses() if node in inside]
        return self.params(all(self.is_wide(node) for node in readers))[value]


def tell_widths(
    decisions: Iterable[Decision], inside: Iterable[ir.Node], *, wide: Collection[ir.Node], scheme: Scheme
) -> tuple[Decision, ...]:
    """The decisions on nodes of a Q/DQ graph; its integer ones, `inside`, by the widths they have in it."""
    searched, small = (
        {str(node.name) for node in nodes} for nodes in (wide, filter(_has_int4_weight, inside))
    )
    return tuple(
        _tell(one, searched=one.node in searched, small=one.node in small, scheme=scheme)
        if one.precision == "int8"
        else one
        for one in decisions
    )


def _tell(one: Decision, *, searched: bool, small: bool, scheme: Scheme) -> Decision:
    reason = _REASON if searched else one.reason
    if scheme.is_wide or small:
        reason += f"; as scheme {scheme.name} has it"
    return replace(one, precision=_PRECISIONS[searched or scheme.is_wide, small], reason=reason)


def _has_int4_weight(node: ir.Node) -> bool:
    makers = [value.producer() for value in node.inputs if value is not None]
    codes = [maker.inputs[0] for maker in makers if maker is not None and maker.op_type == "DequantizeLinear"]
    tensors = [value.const_value for value in codes if value is not None]
    return any(tensor is not None and tensor.dtype.name == "INT4" for tensor in tensors)


def find_wide(graph: ir.Graph, islands: Islands, names: Collection[str]) -> frozenset[ir.Node]:
    """The islands' nodes that compute in 16 bits where those called `names` do."""
    kernel = _join_kernels(graph, islands)
    asked = {kernel[node] for node in islands.nodes if node.name in names}
    wide: dict[ir.Node, bool] = {}
    for node in graph:  # producers come first
        if node in kernel and kernel[node] not in wide:
            moved = _moved_width(node, kernel, wide)
            wide[kernel[node]] = kernel[node] in asked if moved is None else moved
    return frozenset(node for node in kernel if wide[kernel[node]])


def _join_kernels(graph: ir.Graph, islands: Islands) -> Mapping[ir.Node, ir.Node]:
    """Node -> the first node of its kernel."""
    first: dict[ir.Node, ir.Node] = {node: node for node in graph if node in islands.nodes}

    def find(node: ir.Node) -> ir.Node:
        while first[node] is not node:
            first[node] = first[first[node]]
            node = first[node]
        return node

    rounded = set(islands.tensors)
    for node in first:
        for value in node.inputs:
            maker = None if value is None else value.producer()
            if maker in first and maker is not None and value not in rounded:
                first[find(node)] = find(maker)
    return {node: find(node) for node in first}


def _moved_width(
    node: ir.Node, kernel: Mapping[ir.Node, ir.Node], wide: Mapping[ir.Node, bool]
) -> bool | None:
    """Whether all that a moving node moves is wide; None where it computes, or moves what came as float."""
    row = place(node)
    if row is None or row.kind not in _MOVING:
        return None
    makers = [value.producer() for value in activation_inputs(node)]
    known = [kernel[maker] for maker in makers if maker in kernel and maker is not None]
    return all(wide[maker] for maker in known) if known and len(known) == len(makers) else None
