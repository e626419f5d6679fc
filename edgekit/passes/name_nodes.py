"""Every node gets a unique name, taken from its own or from its first output."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgekit.passes._rewire import graphs_of

if TYPE_CHECKING:
    import onnx_ir as ir

# A node's name goes into manifests, reports and back into --float: no control character may ride along.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f]")


def name_nodes(model: ir.Model) -> int:
    """Name the nodes that have no name or one that another node before them has; returns how many.

    A control character in a name becomes a question mark.
    """
    taken: set[str] = set()
    renamed = 0
    for graph in graphs_of(model):
        for node in graph:
            name = node.name or f"{node.op_type}/{node.outputs[0].name}" if node.outputs else node.op_type
            name = _CONTROL.sub("?", name)
            unique, number = name, 0
            while unique in taken:
                number += 1
                unique = f"{name}_{number}"
            taken.add(unique)
            renamed += node.name != unique
            node.name = unique
    return renamed
