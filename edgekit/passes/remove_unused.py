"""Nodes and initializers that no output needs -> gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import RemoveUnusedNodesPass

if TYPE_CHECKING:
    import onnx_ir as ir


def remove_unused(model: ir.Model) -> int:
    """Remove nodes and initializers that nothing reads; returns how many nodes went."""
    before = sum(len(graph) for graph in model.graphs())
    RemoveUnusedNodesPass()(model)
    return before - sum(len(graph) for graph in model.graphs())
