"""What stands in front of the int8 layers of a Q/DQ graph: the mean of x x', over two parts of the samples.

Only these moments are kept of the samples. Layers are taken in groups that fit into a budget of memory, and
the samples run once for each group.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.observe_products import read_tensors

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._qdq.layer_windows import Layer
    from edgekit.calibration.samples import Samples

    Floats = NDArray[np.float32]

BUDGET_BYTES = 256_000_000  # of a group's moments, of both parts
_MOST_SAMPLES, _HELD_EVERY = 128, 4  # every fourth judges
# Vectors to learn from, more for more columns; of one sample at least some, so that narrow layers read few.
_LEAST_ROWS, _ROWS_A_COLUMN, _LEAST_OF_ONE = 4096, 4, 64


@dataclass(frozen=True)
class Split:
    """Which samples choose the rounding, and which judge it, by their place in the samples."""

    fit: frozenset[int]
    held: frozenset[int]


@dataclass(frozen=True)
class Moments:
    """The mean of x x' [groups, K, K] of the samples to learn from, and of those held out."""

    fit: Floats
    held: Floats


class _Sum:
    """x x' of one layer over one part of the samples, summed up."""

    def __init__(self, layer: Layer, samples: int, share: float) -> None:
        self.layer, self.samples = layer, samples
        self.wanted = math.ceil(share * max(_LEAST_ROWS, _ROWS_A_COLUMN * layer.columns))
        self.total = np.zeros((layer.groups, layer.columns, layer.columns), np.float32)
        self.rows = self.seen = 0

    def add(self, data: Floats) -> None:
        """One sample, or nothing of it where those before gave more than their share."""
        due = self.wanted * self.seen / self.samples
        self.seen += 1
        if self.rows > due:
            return
        most = max(_LEAST_OF_ONE, -(-self.wanted // self.samples))
        vectors = self.layer.vectors(data, most, self.seen)
        self.total += np.matmul(vectors.transpose(0, 2, 1), vectors)
        self.rows += vectors.shape[1]

    def mean(self) -> Floats:
        """Of what was added."""
        self.total /= np.float32(max(self.rows, 1))
        return self.total


def split_samples(samples: Samples) -> Split:
    """At most 128 of them, evenly spread, every fourth held out."""
    taken = samples.spread(_MOST_SAMPLES)
    held = frozenset(taken[_HELD_EVERY - 1 :: _HELD_EVERY])
    return Split(frozenset(taken) - held, held)


def count_bytes(layer: Layer) -> int:
    """Of a layer's moments, of both parts."""
    return 2 * 4 * layer.groups * layer.columns**2


def observe_layers(
    model: ir.Model, layers: Sequence[Layer], samples: Samples, split: Split
) -> Iterator[tuple[Layer, Moments]]:
    """The layers with their moments, a group at a time; SamplesError where a sample does not run."""
    for group in _group(layers):
        sums = {
            layer.node: {
                part: _Sum(layer, len(places), len(places) / len(split.fit))
                for part, places in (("fit", split.fit), ("held", split.held))
            }
            for layer in group
        }
        _observe(model, samples, split, [(layer, sums[layer.node]) for layer in group])
        for layer in group:
            own = sums.pop(layer.node)
            yield layer, Moments(own["fit"].mean(), own["held"].mean())


def _group(layers: Sequence[Layer]) -> Iterator[list[Layer]]:
    group: list[Layer] = []
    for layer in layers:
        if group and sum(map(count_bytes, (*group, layer))) > BUDGET_BYTES:
            yield group
            group = []
        group.append(layer)
    if group:
        yield group


def _observe(
    model: ir.Model, samples: Samples, split: Split, group: Sequence[tuple[Layer, Mapping[str, _Sum]]]
) -> None:
    """One pass over the samples."""
    wanted, places = [layer.data for layer, _ in group], sorted(split.fit | split.held)
    tensors = read_tensors(model, wanted, samples.take(places))
    for place, (_, known) in zip(places, tensors, strict=True):
        for layer, sums in group:
            sums["fit" if place in split.fit else "held"].add(np.asarray(known[layer.data], np.float32))
