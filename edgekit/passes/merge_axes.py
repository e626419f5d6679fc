"""Reshape -> Transpose of many axes -> Reshape: axes that travel together become one, of size 1 none.

Core ML has tensors of at most 5 axes, and Apple's Neural Engine likes 4. Pixel shuffles, window partitions
and split heads are often exported with 6 axes and need fewer. The data moves in the same way: equal bits.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, all_nodes, graph_of, input_of, static_shape

if TYPE_CHECKING:
    from collections.abc import Sequence

_RESHAPES = frozenset({"Reshape", "Squeeze", "Unsqueeze", "Flatten"})


def merge_axes(model: ir.Model, above: int = 4) -> int:
    """Lower each Transpose of more than `above` axes between reshapes; returns how many became smaller.

    Left alone: shapes that are not numbers, a Transpose whose input comes from no reshape or whose output is
    read by anything else, and one whose axes all go their own ways. Shapes must have been inferred.
    """
    names = Names(model)
    return sum(_merge(node, above, names) for node in all_nodes(model) if node.op_type == "Transpose")


def _merge(node: ir.Node, above: int, names: Names) -> bool:
    source = node.inputs[0]
    shape, result = static_shape(source), static_shape(node.outputs[0])
    if node.domain or source is None or shape is None or result is None or len(shape) <= above:
        return False
    before, after = source.producer(), _readers(node.outputs[0])
    if before is None or before.op_type not in _RESHAPES or after is None or 0 in shape:
        return False
    first = input_of(before, 0)
    perm = node.attributes.get("perm")
    order = tuple(perm.as_ints()) if perm is not None else tuple(reversed(range(len(shape))))
    sizes, merged = merge_perm(shape, order)
    if first is None or len(sizes) == len(shape):
        return False
    small = names.insert_before(node, "Reshape", [first, _shape(node, sizes, names)])
    small.shape, small.type = ir.Shape(sizes), source.type
    turned = names.insert_before(node, "Transpose", [small], perm=merged)
    turned.shape, turned.type = ir.Shape([sizes[axis] for axis in merged]), source.type
    for reader in after:
        _read_merged(reader, turned, names)
    graph_of(node).remove(node, safe=True)
    if not source.uses() and not source.is_graph_output():
        graph_of(before).remove(before, safe=True)
    return True


def merge_perm(shape: Sequence[int], perm: Sequence[int]) -> tuple[tuple[int, ...], tuple[int, ...]]:
    """The smallest (shape, perm) that moves the data as these do.

    (2, 3, 4) by (1, 2, 0) is (2, 12) by (1, 0): axes 1 and 2 stay side by side.
    """
    order = [axis for axis in perm if shape[axis] != 1]
    groups: list[list[int]] = []
    for axis in order:
        if (
            groups
            and not any(shape[gap] != 1 for gap in range(groups[-1][-1] + 1, axis))
            and axis > groups[-1][-1]
        ):
            groups[-1].append(axis)
        else:
            groups.append([axis])
    if not groups:
        return (1,), (0,)
    ranked = sorted(groups)
    sizes = tuple(int(np.prod([shape[axis] for axis in group])) for group in ranked)
    return sizes, tuple(ranked.index(group) for group in groups)


def _readers(value: ir.Value) -> tuple[ir.Node, ...] | None:
    """The reshapes that read the value; None where anything else does, or one has no known shape."""
    readers = tuple(dict.fromkeys(node for node, _ in value.uses()))
    if value.is_graph_output() or not readers:
        return None
    fine = all(
        reader.op_type in _RESHAPES
        and not reader.domain
        and reader.inputs[0] is value
        and [one is value for one in reader.inputs].count(True) == 1
        and static_shape(reader.outputs[0]) is not None
        for reader in readers
    )
    return readers if fine else None


def _read_merged(reader: ir.Node, value: ir.Value, names: Names) -> None:
    """Let a reshape, of whatever kind, be one of the merged value to the shape it gives."""
    output = reader.outputs[0]
    shape = static_shape(output) or ()
    new = names.insert_before(reader, "Reshape", [value, _shape(reader, shape, names)])
    name, kind, dims = output.name, output.type, output.shape
    output.replace_all_uses_with(new, replace_graph_outputs=True)
    graph_of(reader).remove(reader, safe=True)
    new.name, new.type, new.shape = name, kind, dims


def _shape(node: ir.Node, sizes: Sequence[int], names: Names) -> ir.Value:
    return names.add_initializer(graph_of(node), f"{node.outputs[0].name}/shape", np.array(sizes, np.int64))
