"""How far one distribution lies from another, both known by their sketches."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._field.shares import Shares

if TYPE_CHECKING:
    from edgekit._monitor.device.sketch import Sketch

_BINS = 10
# The usual floor of a bin's share: an empty one would make the index infinite.
_FLOOR = 1e-4


# Of 100 comparisons of equal distributions one may be off by more than the error that is told.
_DOUBT = 0.01
_NORMAL_TAIL = 2.326  # the normal distribution's quantile of 1 - _DOUBT
_NORMAL_TAILS = 2.576  # the same on both sides


@dataclass(frozen=True)
class Distances:
    """Of the field from the baseline.

    psi: population stability index over the baseline's deciles. ks: the largest difference of the two
    cumulative distributions, 0..1. wasserstein: first Wasserstein distance in standard deviations of the
    baseline (its own unit where the baseline is constant). nonfinite: how much larger the field's share of
    NaN and infinities is. *_error: what chance may make of each where nothing drifted, as if the numbers were
    independent of each other; for ks the error of the sketches is in it.
    """

    psi: float
    psi_error: float
    ks: float
    ks_error: float
    wasserstein: float
    wasserstein_error: float
    nonfinite: float


def measure_distances(baseline: Sketch, field: Sketch, rounding: float = 0.0) -> Distances:
    """All of them; both sketches must have seen finite numbers.

    rounding: how far the field's numbers may lie from the baseline's without being counted, in their unit.
    """
    before, now = Shares.of(baseline), Shares.of(field)
    if rounding > 0:
        now = now.forgive(before, rounding)
    points = np.union1d(before.items, now.items)
    gaps = np.abs(before.cdf(points) - now.cdf(points))
    # The bound of a sketch is for one point: for all of its points, the chances add up.
    sketched = sum(one.rank_error(_DOUBT / len(points)) for one in (baseline, field))
    spread = 1 / baseline.count + 1 / field.count
    edges = _edges(before)
    return Distances(
        psi=_stability_index(before, now, edges),
        psi_error=_chi_squared(len(edges)) * spread,
        ks=float(gaps.max()),
        # Dvoretzky, Kiefer, Wolfowitz and Massart.
        ks_error=sketched + math.sqrt(math.log(2 / _DOUBT) / 2 * spread),
        wasserstein=float((gaps[:-1] * np.diff(points)).sum()) / (_deviation(baseline) or 1.0),
        # How far the mean alone moves.
        wasserstein_error=_NORMAL_TAILS * math.sqrt(spread),
        nonfinite=_odd_share(field) - _odd_share(baseline),
    )


def _chi_squared(freedom: int) -> float:
    """The quantile of 1 - _DOUBT (Wilson and Hilferty): what PSI is distributed as, after Yurdakul (2018)."""
    part = 2 / (9 * freedom)
    return float(freedom * (1 - part + _NORMAL_TAIL * math.sqrt(part)) ** 3)


def _stability_index(before: Shares, now: Shares, edges: np.ndarray) -> float:
    theirs, mine = (np.maximum(_split(one, edges), _FLOOR) for one in (before, now))
    return float(((mine - theirs) * np.log(mine / theirs)).sum())


def _edges(before: Shares) -> np.ndarray:
    """The baseline's inner deciles; a number that fills a whole bin gets one of its own."""
    deciles = before.quantile(np.arange(1, _BINS) / _BINS - 1e-12)
    edges, counts = np.unique(deciles, return_counts=True)
    return np.union1d(edges, np.nextafter(edges[counts > 1], -np.inf))


def _split(shares: Shares, edges: np.ndarray) -> np.ndarray:
    """The share in each bin."""
    return np.diff(np.concatenate(([0.0], shares.cdf(edges), [1.0])))


def _deviation(sketch: Sketch) -> float:
    items, weights = sketch.weighted()
    mean = np.average(items, weights=weights)
    return float(np.sqrt(np.average((items - mean) ** 2, weights=weights)))


def _odd_share(sketch: Sketch) -> float:
    whole = sketch.count + sketch.nonfinite
    return sketch.nonfinite / whole if whole else 0.0
