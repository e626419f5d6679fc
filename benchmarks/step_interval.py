"""What a difference of two noises in dB is worth: its ends as the samples are drawn anew."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

_DRAWS, _ENDS = 2000, (5, 95)


def to_decibels(signal: Any, noise: Any) -> Any:
    """10 log10 of the ratio of two energies, or of many."""
    tiny = np.finfo(np.float64).tiny
    return 10 * np.log10(np.maximum(signal, tiny) / np.maximum(noise, tiny))


def step_interval(graph: Sequence[float], file: Sequence[float]) -> tuple[float, float]:
    """The ends of 90 % of bootstrap draws of how many dB louder the file's noise is than its graph's.

    graph, file: energies of what the two are off by, an entry a sample, in one order.
    """
    own, theirs = np.array(graph), np.array(file)
    draws = np.random.default_rng(0).integers(0, own.size, (_DRAWS, own.size))
    low, high = np.percentile(to_decibels(theirs[draws].sum(1), own[draws].sum(1)), _ENDS)
    return float(low), float(high)
