"""Reads a Mul, Div, Add or Sub by a constant as y = x * scale + shift per channel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.passes._rewire import constant_array

if TYPE_CHECKING:
    import onnx_ir as ir

AFFINE_OPS = frozenset({"Add", "Div", "Mul", "Sub"})


@dataclass(frozen=True)
class Affine:
    """One node: the tensor it reads, and what it does to each of `channels` entries of axis 1 (float64)."""

    source: ir.Value
    scale: np.ndarray
    shift: np.ndarray


def read_affine(node: ir.Node, channels: int, rank: int) -> Affine | None:
    """The node on tensors of that rank; None for other ops, other broadcasts, or c/x and c-x."""
    if node.op_type not in AFFINE_OPS or node.domain:
        return None
    side = next((index for index, value in enumerate(node.inputs) if constant_array(value) is not None), None)
    if side is None or (side == 0 and node.op_type in ("Div", "Sub")):
        return None
    source = node.inputs[1 - side]
    constant = _per_channel(constant_array(node.inputs[side]), channels, rank)
    if source is None or constant is None:
        return None
    scale, shift = _scale_and_shift(node.op_type, constant)
    if not (np.all(np.isfinite(scale)) and np.all(np.isfinite(shift))):
        return None
    return Affine(source, scale, shift)


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
