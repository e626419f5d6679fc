"""A distribution that a sketch knows: its numbers in order, each with the share of all at or below it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from edgekit._monitor.device.sketch import Sketch

# So many numbers, each for as large a share, are enough to draw a distribution and its tails by.
_SPREAD = 256


@dataclass(frozen=True)
class Shares:
    """items: in order; below: the share of all numbers that are at or below each."""

    items: np.ndarray
    below: np.ndarray

    @classmethod
    def of(cls, sketch: Sketch) -> Shares:
        """Of a sketch that has seen finite numbers."""
        items, weights = sketch.weighted()
        return cls(items, np.cumsum(weights) / weights.sum())

    def cdf(self, points: np.ndarray) -> np.ndarray:
        """The share of the numbers that are <= each point."""
        return np.concatenate(([0.0], self.below))[np.searchsorted(self.items, points, side="right")]

    def quantile(self, shares: np.ndarray) -> np.ndarray:
        """The smallest item with at least each share at or below it."""
        places = np.searchsorted(self.below, shares, side="left")
        return np.asarray(self.items[np.minimum(places, len(self.items) - 1)])

    def forgive(self, wanted: Shares, rounding: float) -> Shares:
        """Each number moved towards that of the same rank in `wanted`, by `rounding` at most."""
        ends = np.union1d(wanted.below, self.below)
        middles = ends - np.diff(ends, prepend=0.0) / 2
        theirs, mine = wanted.quantile(middles), self.quantile(middles)
        return Shares(np.clip(theirs, mine - rounding, mine + rounding), ends)

    def spread(self) -> tuple[float, ...]:
        """256 numbers in order that stand for all, each for as many."""
        middles = (np.arange(_SPREAD) + 0.5) / _SPREAD
        return tuple(float(f"{one:.6g}") for one in self.quantile(middles))
