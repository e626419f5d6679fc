"""Finds a model's front end: what only logarithms read, such as the spectrum that an audio model takes first.

A logarithm makes equal steps of equal ratios. Integers have equal steps and no small numbers: quiet parts of
a spectrum, which decide as much as loud ones behind the logarithm, round to nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._cost import node_costs
from edgekit._qdq.placement import place

if TYPE_CHECKING:
    import onnx_ir as ir

# Of the model's multiply-accumulates. What takes more is the model itself, as in front of a LogSoftmax.
_MOST = 0.2


def find_front_end(model: ir.Model) -> frozenset[str]:
    """Names of the nodes that every way to an output leads from through a Log; shapes must be known.

    None where no convolution or product is among them, or they have more than a fifth of the model's MACs.
    """
    found: set[ir.Node] = set()
    for node in reversed(list(model.graph)):
        if all(_reaches_logarithms(value, found) for value in node.outputs):
            found.add(node)
    rows = [place(node) for node in found]
    if not any(row is not None and row.kind == "compute" for row in rows):
        return frozenset()
    names = frozenset(str(node.name) for node in found)
    costs = node_costs(model)
    if any(cost.macs is None for cost in costs):
        return frozenset()
    own = sum(cost.macs or 0 for cost in costs if cost.name in names)
    return names if own <= _MOST * sum(cost.macs or 0 for cost in costs) else frozenset()


def _reaches_logarithms(value: ir.Value, found: set[ir.Node]) -> bool:
    """Whether nothing but logarithms and nodes in front of them read the value."""
    if value.is_graph_output():
        return False
    return all(use.node.op_type == "Log" or use.node in found for use in value.uses())
