"""Every float tensor of a graph, whatever the op: not to ship, but to see which op cannot bear int8."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Sequence

ALL = "all"


def list_all(graph: ir.Graph) -> tuple[tuple[ir.Node, ...], tuple[ir.Value, ...]]:
    """(nodes that read or make float activations, all those activations), both in the graph's order.

    Constants stay as they are, but for the weights of convolutions and products.
    """
    activations: dict[ir.Value, None] = {}
    nodes = []
    for node in graph:
        values = [*_floats(node.inputs), *_floats(node.outputs)]
        if values:
            nodes.append(node)
            activations.update(dict.fromkeys(values))
    return tuple(nodes), tuple(activations)


def _floats(values: Sequence[ir.Value | None]) -> list[ir.Value]:
    return [
        value
        for value in values
        if value is not None and value.name and value.const_value is None and value.dtype == ir.DataType.FLOAT
    ]
