"""Mul, Div, Add and Sub by a constant per channel in front of convolutions -> into their weights.

PP-OCR's learnable affine blocks stand on both sides of an activation; fuse_affine takes those behind a
convolution, this pass those in front of one. A factor moves into any convolution; a term only into one
without padding, for padding puts zeros where the term would have been added.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._affine import AFFINE_OPS, read_affine
from edgekit.passes._rewire import Names, all_nodes, constant_array, graph_of, input_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.passes._affine import Affine


def push_affine(model: ir.Model) -> int:
    """Fold each such node whose readers are all convolutions with constant weights; how many went."""
    names = Names(model)
    return sum(_push(node, names) for node in all_nodes(model) if node.op_type in AFFINE_OPS)


def _push(node: ir.Node, names: Names) -> bool:
    result = node.outputs[0]
    readers = tuple(dict.fromkeys(reader for reader, _ in result.uses()))
    if result.is_graph_output() or not readers or not all(_is_conv_on(result, one) for one in readers):
        return False
    channels = _input_channels(readers[0])
    affine = read_affine(node, channels, len(result.shape or ()))
    if affine is None or _shape(affine.source) != _shape(result):
        return False
    if affine.shift.any() and any(_is_padded(reader) for reader in readers):
        return False
    folded = [_fold(reader, affine) for reader in readers]
    if any(not np.all(np.isfinite(array)) for pair in folded for array in pair):
        return False
    for reader, (weight, bias) in zip(readers, folded, strict=True):
        _rewrite(reader, affine, weight, bias, names)
    graph_of(node).remove(node, safe=True)
    return True


def _is_conv_on(value: ir.Value, node: ir.Node) -> bool:
    """A Conv that reads `value` as its data and nowhere else, with constant weights and bias."""
    if node.op_type != "Conv" or node.domain or [value is one for one in node.inputs].count(True) != 1:
        return False
    bias = input_of(node, 2)
    weight = constant_array(input_of(node, 1))
    return (
        node.inputs[0] is value and weight is not None and (bias is None or constant_array(bias) is not None)
    )


def _input_channels(node: ir.Node) -> int:
    weight = constant_array(node.inputs[1])
    return 0 if weight is None else int(weight.shape[1]) * _groups(node)


def _fold(node: ir.Node, affine: Affine) -> tuple[np.ndarray, np.ndarray]:
    """W * scale and b + sum(W * shift), summed over the input channels and taps of each output channel."""
    weight, bias = constant_array(node.inputs[1]), constant_array(input_of(node, 2))
    if weight is None:
        raise TypeError(f"the weights of Conv '{node.name}' are not constant")
    scale, shift = (_per_filter(node, weight, array) for array in (affine.scale, affine.shift))
    with np.errstate(over="ignore"):
        wide = weight.astype(np.float64)
        added = (wide * shift).reshape(weight.shape[0], -1).sum(axis=1)
        old = np.zeros(weight.shape[0]) if bias is None else bias.astype(np.float64)
        return (wide * scale).astype(weight.dtype), (old + added).astype(weight.dtype)


def _per_filter(node: ir.Node, weight: np.ndarray, array: np.ndarray) -> np.ndarray:
    """[C_in] as [C_out, C_in / groups, 1, ...]: what each filter's inputs see."""
    groups = _groups(node)
    by_group = np.repeat(array.reshape(groups, -1), weight.shape[0] // groups, axis=0)
    return by_group.reshape(*by_group.shape, *[1] * (weight.ndim - 2))


def _rewrite(node: ir.Node, affine: Affine, weight: np.ndarray, bias: np.ndarray, names: Names) -> None:
    graph, name = graph_of(node), node.outputs[0].name
    node.replace_input_with(0, affine.source)
    node.replace_input_with(1, names.add_initializer(graph, f"{name}/weight", weight))
    if affine.shift.any():
        if len(node.inputs) < 3:
            node.resize_inputs(3)
        node.replace_input_with(2, names.add_initializer(graph, f"{name}/bias", bias))


def _is_padded(node: ir.Node) -> bool:
    mode = node.attributes.get("auto_pad")
    if mode is not None and mode.as_string() not in ("NOTSET", "VALID"):
        return True
    pads = node.attributes.get("pads")
    return pads is not None and any(pads.as_ints())


def _groups(node: ir.Node) -> int:
    group = node.attributes.get("group")
    return 1 if group is None else group.as_int()


def _shape(value: ir.Value) -> list[object] | None:
    return None if value.shape is None else list(value.shape)
