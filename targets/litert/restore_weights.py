"""Integer weights that no kernel is to read itself get a DEQUANTIZE in front, and are computed in float."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Operator, Quant, Tensor, constant, int32s

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Graph
    from edgekit.targets.litert.options import WeightKernels

# Operator -> the place of its weights.
_WEIGHTS = {"CONV_2D": 1, "DEPTHWISE_CONV_2D": 1, "FULLY_CONNECTED": 1, "TRANSPOSE_CONV": 1}


def restore_weights(graph: Graph, kernels: WeightKernels) -> int:
    """Rewrite in place; how many operators compute in float on restored weights.

    `dynamic` leaves to LiteRT's kernels what they take (weight_kernels.toml).
    """
    made: dict[Tensor, Tensor] = {}
    head: list[Operator] = []
    count = 0
    for operator in graph.operators:
        place = _WEIGHTS.get(operator.code)
        weights = None if place is None else operator.inputs[place]
        if weights is None or weights.dtype not in ("int8", "int4") or operator.outputs[0].dtype != "float32":
            continue
        if kernels == "dynamic" and _reads_integers(operator.code, weights):
            continue
        if weights not in made:
            made[weights] = _restored(weights, head)
        operator.inputs = tuple(
            made.get(item, item) if item is not None else None for item in operator.inputs
        )
        count += 1
    graph.operators[:0] = head
    return count


def _reads_integers(code: str, weights: Tensor) -> bool:
    """Whether all of LiteRT's optimized kernels of the operator compute with these weights, and rightly."""
    if weights.dtype not in _dynamic().get(code, ()):
        return False
    plain = weights.quant is None or weights.quant.blocks is None
    if code == "FULLY_CONNECTED" and weights.dtype == "int4" and plain:
        return weights.data is not None and int(weights.data.astype(np.int8).min()) > -8
    return True


@cache
def _dynamic() -> dict[str, list[str]]:
    text = (Path(__file__).parent / "weight_kernels.toml").read_text(encoding="utf-8")
    table: dict[str, list[str]] = tomllib.loads(text)["dynamic"]
    return table


def _restored(weights: Tensor, head: list[Operator]) -> Tensor:
    """The float tensor behind a DEQUANTIZE; blocks are rows of a narrower matrix until they are restored."""
    assert weights.data is not None
    assert weights.quant is not None
    blocks = weights.quant.blocks
    if blocks is None:
        return _dequantized(weights, head)
    scales = tuple(float(item) for item in blocks.scales.astype(np.float32).reshape(-1))
    rows = _dequantized(constant(weights.data.reshape(-1, blocks.size), Quant(scales)), head)
    out = Tensor(weights.shape, "float32")
    shape = np.asarray(weights.shape, np.int32)
    head.append(Operator("RESHAPE", (rows, int32s(weights.shape)), (out,), {"newShape": shape}))
    return out


def _dequantized(weights: Tensor, head: list[Operator]) -> Tensor:
    out = Tensor(weights.shape, "float32")
    head.append(Operator("DEQUANTIZE", (weights,), (out,)))
    return out
