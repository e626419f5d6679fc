"""Weights as indices into a table of 2^bits values, found by k-means on each weight's own values."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.graph import Palette

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.targets.coreml.graph import Graph, Tensor

    Floats = NDArray[np.float64]

# Operation -> the parameter that holds its constant weight.
_WEIGHTS = {"conv": "weight", "conv_transpose": "weight", "linear": "weight", "matmul": "y"}
_SMALLEST = 2048  # elements; coremltools' own threshold for compressing a weight
_ROUNDS = 30


def palettize(graph: Graph, bits: int) -> int:
    """Give the float weights of the graph's products a palette; how many were given one."""
    found: dict[int, Tensor] = {}
    for operator in graph.operators:
        weight = operator.inputs.get(_WEIGHTS.get(operator.code, ""))
        if weight is not None and weight.array is not None and weight.size >= _SMALLEST:
            found[id(weight)] = weight
    for weight in found.values():
        assert weight.array is not None
        weight.palette = make_palette(weight.array, bits)
    return len(found)


def make_palette(values: NDArray[np.float32], bits: int) -> Palette:
    """The table of at most 2^bits values that is nearest in the sum of squares, as Lloyd's rounds find it.

    They start from evenly spaced quantiles, so that the same weight always gets the same table.
    """
    ordered = np.sort(values.reshape(-1).astype(np.float64))
    count = 2**bits
    centres: Floats = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(_ROUNDS):
        edges = np.searchsorted(ordered, (centres[1:] + centres[:-1]) / 2)
        bounds = np.concatenate([[0], edges, [ordered.size]])
        sizes = np.diff(bounds)
        means = np.diff(sums[bounds]) / np.maximum(sizes, 1)
        moved = np.where(sizes > 0, means, centres)
        if np.array_equal(moved, centres):
            break
        centres = moved
    middles = (centres[1:] + centres[:-1]) / 2
    indices = np.searchsorted(middles, values.reshape(-1).astype(np.float64)).reshape(values.shape)
    return Palette(indices.astype(np.uint8), centres.astype(np.float32), bits)
