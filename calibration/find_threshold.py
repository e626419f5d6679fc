"""The searches behind two observers: a quantile and the least KL divergence."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Counts = NDArray[np.int64]
    Floats = NDArray[np.float64]


def quantile(counts: Counts, share: float) -> int:
    """The number of leading bins that hold at least `share` (0..1) of all values."""
    total = np.cumsum(counts)
    return int(np.searchsorted(total, share * float(total[-1]), side="left")) + 1


def kl_threshold(counts: Counts, levels: int, first: int, step: int) -> int:
    """The number of leading bins of |x| to keep: least KL(P || Q) over `first`, `first + step`, ... bins.

    P is the kept histogram with everything clipped added to its last bin. Q is the kept histogram
    without the clipped values, put into `levels` equal levels and spread again over the bins of each
    level that are not empty. All of it comes from prefix sums, so that no bin is visited per candidate.
    """
    if len(counts) <= first:
        return len(counts)
    kept = np.append(np.arange(first, len(counts), step), len(counts))
    edges = np.round(np.linspace(0.0, 1.0, levels + 1)[None, :] * kept[:, None]).astype(np.int64)
    inside = _prefix(counts)[edges]
    filled = _prefix(counts > 0)[edges]
    divergence = _divergence(np.diff(inside, axis=1), np.diff(filled, axis=1), counts, kept)
    return int(kept[np.argmin(divergence)])


def _divergence(mass: Floats, filled: Floats, counts: Counts, kept: Counts) -> Floats:
    """KL(P || Q) of each candidate in nats, from per-level mass and number of bins that are not empty."""
    total, tiny = float(counts.sum()), 1e-12
    in_range = np.maximum(mass.sum(axis=1), 1.0)
    level = mass / np.maximum(filled, 1.0) / in_range[:, None]
    cross = (mass / total * np.log(np.maximum(level, tiny))).sum(axis=1)
    share = counts / total
    own = _prefix(share * np.log(np.maximum(share, tiny)))[kept]
    last, outside = counts[kept - 1] / total, 1 - mass.sum(axis=1) / total
    edge = last + np.maximum(outside, 0.0)
    own += edge * np.log(np.maximum(edge, tiny)) - last * np.log(np.maximum(last, tiny))
    at_edge = np.where(counts[kept - 1] > 0, level[:, -1], tiny)
    cross += (edge - last) * np.log(np.maximum(at_edge, tiny))
    result: Floats = own - cross
    return result


def _prefix(values: NDArray[np.generic]) -> Floats:
    return np.concatenate([[0.0], np.cumsum(values, dtype=np.float64)])
