"""Mul, Div, Add, Sub by a constant per channel behind a Conv, ConvTranspose or Gemm -> into its weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import Names, all_nodes, constant_array, take_over
from edgekit.passes._scale_weights import fold_scale, has_channel_bias, output_channels

if TYPE_CHECKING:
    import onnx_ir as ir

_AFFINE_OPS = frozenset({"Add", "Div", "Mul", "Sub"})


def fuse_affine(model: ir.Model) -> int:
    """Fold each constant per-channel Mul, Div, Add, Sub into the node before it; returns how many went.

    PP-OCR's learnable affine blocks are such pairs. The same limits as fuse_batchnorm.
    """
    names = Names(model)
    return sum(
        _fuse(node, names) for node in all_nodes(model) if node.op_type in _AFFINE_OPS and not node.domain
    )


def _fuse(node: ir.Node, names: Names) -> bool:
    side = next((index for index, value in enumerate(node.inputs) if constant_array(value) is not None), None)
    if side is None or (side == 0 and node.op_type in ("Div", "Sub")):
        return False
    source = node.inputs[1 - side]
    maker = None if source is None else source.producer()
    channels = output_channels(maker)
    if maker is None or source is None or channels is None or maker.graph is not node.graph:
        return False
    rank = 2 if maker.op_type == "Gemm" else len(source.shape or ())
    constant = _per_channel(constant_array(node.inputs[side]), channels, rank)
    if constant is None or not has_channel_bias(maker):
        return False
    scale, shift = _scale_and_shift(node.op_type, constant)
    if not (np.all(np.isfinite(scale)) and np.all(np.isfinite(shift))):
        return False
    if not fold_scale(maker, scale, shift, names):
        return False
    take_over(maker.outputs[0], node.outputs[0])
    return True


def _per_channel(array: np.ndarray | None, channels: int, rank: int) -> np.ndarray | None:
    """[channels] where the array broadcasts along axis 1 of a tensor of that rank, and only there."""
    if array is None or rank < 2 or array.ndim > rank:
        return None
    shape = (1,) * (rank - array.ndim) + array.shape
    if any(size != 1 for axis, size in enumerate(shape) if axis != 1) or shape[1] not in (1, channels):
        return None
    return np.broadcast_to(array.astype(np.float64).reshape(-1), (channels,))


def _scale_and_shift(op_type: str, constant: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    one, zero = np.ones_like(constant), np.zeros_like(constant)
    with np.errstate(divide="ignore"):
        return {
            "Add": (one, constant),
            "Sub": (one, -constant),
            "Mul": (constant, zero),
            "Div": (1.0 / constant, zero),
        }[op_type]
