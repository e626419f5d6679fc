"""The range with the least mean squared quantization error over a histogram, uniform within each bin."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.settings import read_settings

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.calibration.histogram import Histogram

    Floats = NDArray[np.float64]


class Moments:
    """Integrals of 1, x and x^2 over the histogram from its lower end up to any x."""

    def __init__(self, histogram: Histogram) -> None:
        self._width = histogram.width
        self._edges = np.arange(-histogram.bins, histogram.bins + 1) * histogram.width
        self._density = np.append(histogram.counts / histogram.width, 0.0)
        self._below = [self._accumulate(power) for power in (1, 2, 3)]

    def _accumulate(self, power: int) -> Floats:
        pieces = self._density[:-1] * np.diff(self._edges**power) / power
        return np.concatenate([[0.0], np.cumsum(pieces)])

    def up_to(self, points: Floats) -> tuple[Floats, Floats, Floats]:
        """The three integrals up to each point; a point outside counts as the nearer end."""
        points = np.clip(points, self._edges[0], self._edges[-1])
        places = np.floor((points - self._edges[0]) / self._width).astype(np.intp)
        start, density = self._edges[places], self._density[places]
        zeroth, first, second = (
            below[places] + density * (points**power - start**power) / power
            for power, below in enumerate(self._below, start=1)
        )
        return zeroth, first, second


def symmetric_range(moments: Moments, magnitude: float) -> float:
    """The threshold t <= magnitude for which 255 levels over [-t, t] lose least."""

    def error(thresholds: Floats) -> Floats:
        return quantization_error(moments, -thresholds, thresholds / 127, 255)

    return _search(error, magnitude)


def asymmetric_range(moments: Moments, low: float, high: float) -> tuple[float, float]:
    """The (low, high) within the given ones for which 256 levels lose least.

    0 stays inside. The upper end is searched first, then the lower with the upper held. The rounding of
    the zero-point, which moves all levels by less than half a step, is left out.
    """
    floor = low

    def error_above(ends: Floats) -> Floats:
        return quantization_error(moments, np.full_like(ends, floor), (ends - floor) / 255, 256)

    ceiling = _search(error_above, high) if high > 0 else high

    def error_below(ends: Floats) -> Floats:
        return quantization_error(moments, -ends, (ceiling + ends) / 255, 256)

    return (-_search(error_below, -floor) if floor < 0 else floor), ceiling


def quantization_error(moments: Moments, lows: Floats, steps: Floats, levels: int) -> Floats:
    """Sum of (x - q(x))^2 for each candidate grid `low + k * step`, k = 0 .. levels - 1, ends clipped."""
    grid = lows[:, None] + np.arange(levels) * steps[:, None]
    inner = (grid[:, 1:] + grid[:, :-1]) / 2
    ends = np.full((len(lows), 1), np.inf)
    zeroth, first, second = (
        np.diff(part, axis=1) for part in moments.up_to(np.concatenate([-ends, inner, ends], axis=1))
    )
    total: Floats = (second - 2 * grid * first + grid**2 * zeroth).sum(axis=1)
    return total


def _search(error: Callable[[Floats], Floats], largest: float) -> float:
    """The value in (0, largest] with the least error: octave fractions first, then between neighbours."""
    rule = read_settings("observers")["mse"]
    coarse = largest * 2.0 ** (-np.arange(int(rule["candidates"])) / float(rule["per_octave"]))
    best = int(np.argmin(error(coarse)))
    upper, lower = coarse[max(best - 1, 0)], coarse[min(best + 1, len(coarse) - 1)]
    fine = np.append(np.linspace(upper, lower, int(rule["refine"]) + 1), coarse[best])
    return float(fine[np.argmin(error(fine))])
