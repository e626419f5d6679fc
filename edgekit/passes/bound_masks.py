"""-inf (or anything below float16's range) that masks a Softmax -> -40000, which float16 holds.

exp(-40000) is 0 in any float format, so the probabilities stay the same bits. Where a whole row is masked,
-inf gives NaN and -40000 gives numbers; for finite constants such rows change too, unless Where puts them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graphs_of
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator

LOWEST = -40000.0
LOWEST_HALF = -65504.0
# Ops that only move or repeat entries of their first input.
_MOVES = frozenset(
    {
        "DequantizeLinear",
        "Expand",
        "Flatten",
        "Gather",
        "Identity",
        "Reshape",
        "Slice",
        "Squeeze",
        "Tile",
        "Transpose",
        "Unsqueeze",
    }
)
# A larger scale could tell -40000 from -inf: 128 steps of it reach below.
_LARGEST_SCALE = 300.0


def bound_masks(model: ir.Model, below: float = -np.inf) -> int:
    """Replace entries <= `below` of each float constant that only masks Softmaxes; returns how many.

    "Only masks" means: every path from it goes through Add, Where (as a value) and ops that move entries, to
    the first input of a Softmax. `below` is -inf, or LOWEST_HALF for a model that will compute in float16.
    """
    names = Names(model)
    count = 0
    for graph in graphs_of(model):
        for value in tuple(graph.initializers.values()):
            if is_open_mask(value, below):
                array = constant_array(value)
                if array is None:
                    continue
                bounded = np.where(array <= below, np.asarray(LOWEST, array.dtype), array)
                new = names.add_initializer(graph, f"{value.name}/bounded", bounded)
                value.replace_all_uses_with(new)
                count += 1
    remove_unused(model)
    return count


def is_open_mask(value: ir.Value, below: float) -> bool:
    """Whether an initializer has entries <= `below` and does nothing but mask Softmaxes."""
    if value.dtype not in (ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.DOUBLE):
        return False
    if value.is_graph_output() or not value.uses() or not all(_masks(*use) for use in _uses(value)):
        return False
    array = constant_array(value)
    return array is not None and bool(np.any(array <= below))


def _uses(value: ir.Value) -> Iterator[tuple[ir.Node, int]]:
    for use in value.uses():
        yield use.node, use.idx


def _masks(node: ir.Node, index: int) -> bool:
    """Whether input `index` of the node reaches nothing but Softmaxes."""
    if node.domain:
        return False
    if node.op_type == "Softmax":
        return True
    if not _hands_on(node, index):
        return False
    output = node.outputs[0]
    reached = list(_uses(output))
    return bool(reached) and not output.is_graph_output() and all(_masks(*use) for use in reached)


def _hands_on(node: ir.Node, index: int) -> bool:
    if node.op_type == "Add":
        return True
    if node.op_type == "Where":
        return index > 0
    if index != 0:
        return False
    if node.op_type == "Cast":
        return node.outputs[0].dtype in (ir.DataType.FLOAT, ir.DataType.FLOAT16)
    if node.op_type == "QuantizeLinear":
        scale = constant_array(node.inputs[1])
        return scale is not None and float(np.max(np.abs(scale))) <= _LARGEST_SCALE
    return node.op_type in _MOVES
