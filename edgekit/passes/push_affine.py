"""Mul, Div, Add and Sub by a constant per channel in front of convolutions -> into their weights.

PP-OCR's learnable affine blocks stand on both sides of an activation; fuse_affine takes those behind a
convolution, this pass those in front of one. A factor moves into any convolution; a term only into one
without padding, for padding puts zeros where the term would have been added. A factor in front of a term
that has to stay goes past it: x * k + b is (x + b / k) * k.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._affine import AFFINE_OPS, read_affine
from edgekit.passes._rewire import Names, all_nodes, constant_array, graph_of, input_of

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.passes._affine import Affine

_LARGEST_TERM = 1024.0  # float16 programs hold it to the nearest whole number, and overflow at 65504


def push_affine(model: ir.Model) -> int:
    """Fold each such node whose readers are all convolutions with constant weights; how many went."""
    names = Names(model)
    found = [node for node in all_nodes(model) if node.op_type in AFFINE_OPS and not node.domain]
    return sum(_push(node, names) or _push_past_term(node, names) for node in found)


def _push(node: ir.Node, names: Names) -> bool:
    readers = _convolutions_on(node.outputs[0])
    affine = _read(node, readers)
    if affine is None or (affine.shift.any() and any(_is_padded(reader) for reader in readers)):
        return False
    if not _fold_into(readers, affine, node.outputs[0], names):
        return False
    node.outputs[0].replace_all_uses_with(affine.source)
    graph_of(node).remove(node, safe=True)
    return True


def _push_past_term(node: ir.Node, names: Names) -> bool:
    """The same for one number times what a term is added to, where only the term has to stay.

    A factor of its own for each channel stays: the channels may be of one size because of it.
    """
    result = node.outputs[0]
    uses = tuple(result.uses())
    term = uses[0][0] if len(uses) == 1 and not result.is_graph_output() else None
    readers = () if term is None else _convolutions_on(term.outputs[0])
    affine, added = _read(node, readers), None if term is None else _read(term, readers)
    if term is None or affine is None or added is None or added.source is not result:
        return False
    factor = affine.scale[0]
    if affine.shift.any() or (added.scale != 1).any() or factor == 0 or (affine.scale != factor).any():
        return False
    array = constant_array(term.inputs[1 - uses[0][1]])
    if array is None:
        return False
    with np.errstate(over="ignore"):
        moved = (array.astype(np.float64) / factor).astype(array.dtype)
    factors = replace(affine, source=term.outputs[0])
    if not np.all(np.abs(moved) <= _LARGEST_TERM) or not _fold_into(readers, factors, result, names):
        return False
    term.replace_input_with(
        1 - uses[0][1], names.add_initializer(graph_of(term), f"{result.name}/term", moved)
    )
    result.replace_all_uses_with(affine.source)
    graph_of(node).remove(node, safe=True)
    return True


def _convolutions_on(value: ir.Value) -> tuple[ir.Node, ...]:
    """All that read the value; none where one of them is no convolution to fold into."""
    readers = tuple(dict.fromkeys(reader for reader, _ in value.uses()))
    fits = not value.is_graph_output() and all(_is_conv_on(value, one) for one in readers)
    return readers if fits else ()


def _read(node: ir.Node, readers: tuple[ir.Node, ...]) -> Affine | None:
    """The node per channel of what the readers read; None too where it broadcasts its tensor."""
    if not readers:
        return None
    result = node.outputs[0]
    affine = read_affine(node, _input_channels(readers[0]), len(result.shape or ()))
    return None if affine is None or _shape(affine.source) != _shape(result) else affine


def _fold_into(readers: tuple[ir.Node, ...], affine: Affine, named: ir.Value, names: Names) -> bool:
    """Give each reader the weights and bias that do what `affine` does; False where they overflow."""
    folded = [_fold(reader, affine) for reader in readers]
    if any(not np.all(np.isfinite(array)) for pair in folded for array in pair):
        return False
    for reader, (weight, bias) in zip(readers, folded, strict=True):
        graph = graph_of(reader)
        reader.replace_input_with(1, names.add_initializer(graph, f"{named.name}/weight", weight))
        if affine.shift.any():
            if len(reader.inputs) < 3:
                reader.resize_inputs(3)
            reader.replace_input_with(2, names.add_initializer(graph, f"{named.name}/bias", bias))
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
