"""Moves a layer's magnitude forward where its weights are too small for the scheme's scales.

Scales are fp16-normal numbers, so weights below 127 * 2^-14 lose levels: a layer that reads a tensor of
thousands and brings it down to ones has such weights. Between a convolution and the next ones stands
nothing, or a function with f(k x) = k f(x): the first can take a factor that the others give back. The
factor is a power of two, so the float model computes the same bit for bit.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.equalize_edges import HOMOGENEOUS, takes_scale
from edgekit._qdq.weights import channel_axis
from edgekit.calibration.scales import LEVELS
from edgekit.calibration.settings import get_number
from edgekit.passes._rewire import Names, constant_array, graph_of
from edgekit.passes._scale_weights import FOLDING_OPS, fold_scale
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    import onnx_ir as ir

_DEAD = 1e-3  # a channel this much weaker than the layer's median does not set the factor


def lift_small_weights(model: ir.Model) -> int:
    """Lift every layer whose live channels lie below the floor, as far as its readers have room; how many."""
    names = Names(model)
    lifted = sum(_lift(node, names) for node in list(model.graph) if takes_scale(node))
    remove_unused(model)  # the weights that were replaced
    return lifted


def _lift(node: ir.Node, names: Names) -> bool:
    floor = LEVELS * get_number("scales", "smallest_fp16")
    wanted = floor / _smallest_live(node)
    readers = _find_readers(node.outputs[0])
    if wanted <= 1 or not readers:
        return False
    room = min(_smallest_live(reader) for reader in readers) / floor
    if room < 2:
        return False
    factor = 2.0 ** min(math.ceil(math.log2(wanted)), math.floor(math.log2(room)))
    channels = np.full(_count_channels(node), factor)
    if not fold_scale(node, channels, np.zeros_like(channels), names):
        return False
    for reader in readers:
        _divide_weight(reader, factor, names)
    return True


def _find_readers(value: ir.Value) -> list[ir.Node]:
    """The layers that read `value`, straight or through one homogeneous function; [] if anyone else does."""
    found: list[ir.Node] = []
    for reader, index in value.uses():
        if reader.op_type in HOMOGENEOUS and not reader.domain:
            behind = _find_readers(reader.outputs[0])
            found += behind
            if not behind:
                return []
        elif index == 0 and reader.op_type in FOLDING_OPS and takes_scale(reader):
            found.append(reader)
        else:
            return []
    return [] if value.is_graph_output() else list(dict.fromkeys(found))


def _smallest_live(node: ir.Node) -> float:
    """The smallest channel magnitude of the weights, dead channels left out; inf where all are zero."""
    weight = constant_array(node.inputs[1])
    if weight is None or not weight.size:
        return math.inf
    axis = channel_axis(node)
    others = tuple(index for index in range(weight.ndim) if index != axis)
    magnitudes = np.abs(weight).max(axis=others)
    live = magnitudes[magnitudes > _DEAD * float(np.median(magnitudes))]
    return float(live.min()) if live.size else math.inf


def _count_channels(node: ir.Node) -> int:
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise TypeError(f"the weights of {node.op_type} '{node.name}' are not constant")
    groups = node.attributes.get("group")
    repeats = groups.as_int() if groups is not None and node.op_type == "ConvTranspose" else 1
    return int(weight.shape[channel_axis(node) or 0]) * repeats


def _divide_weight(node: ir.Node, factor: float, names: Names) -> None:
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise TypeError(f"the weights of {node.op_type} '{node.name}' are not constant")
    scaled = (weight / np.float32(factor)).astype(weight.dtype)
    made = names.add_initializer(graph_of(node), f"{node.outputs[0].name}/weight", scaled)
    node.replace_input_with(1, made)
