"""BatchNormalization behind a Conv, ConvTranspose or Gemm -> into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import Names, all_nodes, constant_array, take_over
from edgekit.passes._scale_weights import fold_scale, has_channel_bias, output_channels

if TYPE_CHECKING:
    import onnx_ir as ir

_DEFAULT_EPSILON = 1e-5  # ONNX BatchNormalization


def fuse_batchnorm(model: ir.Model) -> int:
    """Fold each inference BatchNormalization into the node before it; returns how many went.

    Only where that node has constant weights and feeds nothing else. Weights are rounded once, from float64.
    """
    names = Names(model)
    return sum(_fuse(node, names) for node in all_nodes(model) if node.op_type == "BatchNormalization")


def _fuse(node: ir.Node, names: Names) -> bool:
    source = node.inputs[0]
    maker = None if source is None else source.producer()
    channels = output_channels(maker)
    statistics = [constant_array(value) for value in node.inputs[1:5]]
    if maker is None or channels is None or maker.graph is not node.graph or _is_training(node):
        return False
    if any(array is None or array.shape != (channels,) for array in statistics) or not has_channel_bias(
        maker
    ):
        return False
    gamma, beta, mean, variance = (np.asarray(array, np.float64) for array in statistics)
    epsilon = node.attributes.get("epsilon")
    with np.errstate(invalid="ignore", divide="ignore"):
        scale = gamma / np.sqrt(variance + (_DEFAULT_EPSILON if epsilon is None else epsilon.as_float()))
    if not np.all(np.isfinite(scale)):
        return False
    if not fold_scale(maker, scale, beta - mean * scale, names):
        return False
    take_over(maker.outputs[0], node.outputs[0])
    return True


def _is_training(node: ir.Node) -> bool:
    mode = node.attributes.get("training_mode")
    used = [output for output in node.outputs[1:] if output.uses() or output.is_graph_output()]
    return bool(used) or (mode is not None and mode.as_int() != 0)
