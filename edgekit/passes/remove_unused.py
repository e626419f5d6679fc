"""Nodes and initializers that no output needs -> gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.passes._rewire import graphs_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir


def remove_unused(model: ir.Model) -> int:
    """Remove nodes and initializers that nothing reads; returns how many nodes went."""
    graphs = graphs_of(model)
    before = _count_nodes(graphs)
    _release_from_dead_nodes(graphs)
    RemoveUnusedNodesPass()(model)
    graphs = graphs_of(model)
    if _release_from_dead_nodes(graphs):
        RemoveUnusedNodesPass()(model)
        graphs = graphs_of(model)
    return before - _count_nodes(graphs)


def _count_nodes(graphs: Sequence[ir.Graph]) -> int:
    return sum(len(graph) for graph in graphs)


def _release_from_dead_nodes(graphs: Sequence[ir.Graph]) -> int:
    """A branch that was cut off with its If still counts as a reader of outer values: let go of them."""
    live = {node for graph in graphs for node in graph}
    released = 0
    for graph in graphs:
        values = [*graph.initializers.values(), *graph.inputs]
        for value in values + [output for node in graph for output in node.outputs]:
            for user, index in value.uses():
                if user not in live:
                    user.replace_input_with(index, None)
                    released += 1
    return released
