"""Nodes that give back their input (Identity, inference Dropout, no-op Cast, Reshape, Pad ...) -> gone."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import all_nodes, bypass, constant_array, input_of, static_shape

if TYPE_CHECKING:
    from collections.abc import Callable

    import onnx_ir as ir


def drop_identities(model: ir.Model) -> int:
    """Remove nodes whose output equals their first input, exactly; returns how many.

    Kept: one whose removal would make a graph input or a constant a graph output.
    """
    return sum(_drop(node) for node in all_nodes(model) if not node.domain)


def _drop(node: ir.Node) -> bool:
    rule = _RULES.get(node.op_type)
    source = input_of(node, 0)
    if rule is None or source is None or not rule(node):
        return False
    if any(output.uses() or output.is_graph_output() for output in node.outputs[1:]):
        return False
    return bypass(node, source)


def _always(_: ir.Node) -> bool:
    return True


def _is_inference_dropout(node: ir.Node) -> bool:
    training = input_of(node, 2)
    if training is None:
        return True
    value = constant_array(training)
    return value is not None and not value.any()


def _has_same_dtype(node: ir.Node) -> bool:
    source = node.inputs[0]
    return source is not None and source.dtype is not None and source.dtype == node.attributes["to"].as_int()


def _has_same_shape(node: ir.Node) -> bool:
    before, after = static_shape(node.inputs[0]), static_shape(node.outputs[0])
    return before is not None and before == after


def _keeps_order(node: ir.Node) -> bool:
    perm = node.attributes.get("perm")
    return perm is not None and list(perm.as_ints()) == sorted(perm.as_ints())


def _pads_nothing(node: ir.Node) -> bool:
    pads = constant_array(input_of(node, 1))
    return pads is not None and not np.any(pads)


def _slices_whole(node: ir.Node) -> bool:
    """Same static shape and positive steps: then every index is taken in order."""
    steps = input_of(node, 4)
    values = np.ones(1) if steps is None else constant_array(steps)
    return values is not None and bool(np.all(values > 0)) and _has_same_shape(node)


def _has_one_input(node: ir.Node) -> bool:
    return len([value for value in node.inputs if value is not None]) == 1


_RULES: dict[str, Callable[[ir.Node], bool]] = {
    "Cast": _has_same_dtype,
    "Concat": _has_one_input,
    "Dropout": _is_inference_dropout,
    "Expand": _has_same_shape,
    "Flatten": _has_same_shape,
    "Identity": _always,
    "Max": _has_one_input,
    "Mean": _has_one_input,
    "Min": _has_one_input,
    "Pad": _pads_nothing,
    "Reshape": _has_same_shape,
    "Slice": _slices_whole,
    "Sum": _has_one_input,
    "Tile": _has_same_shape,
    "Transpose": _keeps_order,
}
