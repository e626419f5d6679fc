"""Every node gets a unique name, taken from its own or from its first output."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import onnx_ir as ir


def name_nodes(model: ir.Model) -> int:
    """Name the nodes that have no name or one that another node before them has; returns how many."""
    taken: set[str] = set()
    renamed = 0
    for graph in model.graphs():
        for node in graph:
            name = node.name or f"{node.op_type}/{node.outputs[0].name}" if node.outputs else node.op_type
            unique, number = name, 0
            while unique in taken:
                number += 1
                unique = f"{name}_{number}"
            taken.add(unique)
            renamed += node.name != unique
            node.name = unique
    return renamed
