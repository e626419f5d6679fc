"""Nodes and initializers that no output needs -> gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

if TYPE_CHECKING:
    import onnx_ir as ir


def remove_unused(model: ir.Model) -> int:
    """Remove nodes and initializers that nothing reads; returns how many nodes went."""
    before = sum(len(graph) for graph in model.graphs())
    _release_from_dead_nodes(model)
    RemoveUnusedNodesPass()(model)
    _release_from_dead_nodes(model)
    RemoveUnusedNodesPass()(model)
    return before - sum(len(graph) for graph in model.graphs())


def _release_from_dead_nodes(model: ir.Model) -> None:
    """A branch that was cut off with its If still counts as a reader of outer values: let go of them."""
    live = {node for graph in model.graphs() for node in graph}
    for graph in model.graphs():
        values = [*graph.initializers.values(), *graph.inputs]
        for value in values + [output for node in graph for output in node.outputs]:
            for user, index in tuple(value.uses()):
                if user not in live:
                    user.replace_input_with(index, None)
