"""Mul, Div, Add, Sub by a constant per channel behind a Conv, ConvTranspose or Gemm -> into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes._affine import AFFINE_OPS, read_affine
from edgekit.passes._rewire import Names, all_nodes, constant_array, take_over
from edgekit.passes._scale_weights import fold_scale, has_channel_bias, output_channels

if TYPE_CHECKING:
    import onnx_ir as ir


def fuse_affine(model: ir.Model) -> int:
    """Fold each constant per-channel Mul, Div, Add, Sub into the node before it; returns how many went.

    PP-OCR's learnable affine blocks are such pairs. The same limits as fuse_batchnorm.
    """
    names = Names(model)
    return sum(
        _fuse(node, names) for node in all_nodes(model) if node.op_type in AFFINE_OPS and not node.domain
    )


def _fuse(node: ir.Node, names: Names) -> bool:
    source = next((value for value in node.inputs if constant_array(value) is None), None)
    maker = None if source is None else source.producer()
    channels = output_channels(maker)
    if maker is None or source is None or channels is None or maker.graph is not node.graph:
        return False
    affine = read_affine(node, channels, 2 if maker.op_type == "Gemm" else len(source.shape or ()))
    if affine is None or not has_channel_bias(maker):
        return False
    if not fold_scale(maker, affine.scale, affine.shift, names):
        return False
    take_over(maker.outputs[0], node.outputs[0])
    return True
