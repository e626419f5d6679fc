"""From extremes and a histogram to the range that a scheme keeps: minmax, percentile, entropy, mse."""

from __future__ import annotations

import difflib
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.calibration.find_range import Moments, asymmetric_range, symmetric_range
from edgekit.calibration.find_threshold import kl_threshold, quantile
from edgekit.calibration.record import TensorRange
from edgekit.calibration.settings import read_settings
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.calibration.histogram import Histogram


@dataclass
class Observation:
    """What one tensor has shown so far: exact extremes and, for all observers but minmax, a histogram."""

    low: float
    high: float
    histogram: Histogram | None = None

    @property
    def magnitude(self) -> float:
        """Largest |x|."""
        return max(abs(self.low), abs(self.high))


def observer_names() -> tuple[str, ...]:
    """Every observer, as observers.toml lists them."""
    return tuple(read_settings("observers"))


def observer_parameters(observer: str) -> dict[str, str]:
    """The observer's parameters as text; an unknown name raises UsageError naming the nearest."""
    if observer not in observer_names():
        near = difflib.get_close_matches(observer, observer_names(), n=1)
        hint = f"did you mean '{near[0]}'?" if near else f"choose one of {', '.join(observer_names())}"
        raise UsageError(f"there is no observer '{observer}'", fix=hint)
    words = ("summary", "reason")
    return {
        key: str(value) for key, value in read_settings("observers")[observer].items() if key not in words
    }


def reads_histogram(observer: str) -> bool:
    """Whether the observer needs more than the extremes."""
    return observer != "minmax"


def settle_range(observation: Observation, observer: str) -> TensorRange:
    """The range that `observer` chooses for what was seen; never wider than the extremes and 0."""
    low, high = observation.low, observation.high
    floor, ceiling = min(0.0, low), max(0.0, high)
    histogram = observation.histogram
    if observer == "minmax" or histogram is None or observation.magnitude == 0:
        return TensorRange(low, high, observation.magnitude, floor, ceiling)
    threshold, clip_low, clip_high = _OBSERVERS[observer](observation, histogram)
    return TensorRange(
        low,
        high,
        min(threshold, observation.magnitude),
        min(0.0, max(clip_low, floor)),
        max(0.0, min(clip_high, ceiling)),
    )


def _settle_percentile(seen: Observation, histogram: Histogram) -> tuple[float, float, float]:
    """Quantile of |x|; for the asymmetric range half of the rest is left out at either end."""
    share = float(read_settings("observers")["percentile"]["percentile"]) / 100
    threshold = quantile(histogram.fold(seen.magnitude), share) * histogram.width
    tail = (1 + share) / 2
    upper = quantile(histogram.counts, tail) - histogram.bins
    lower = histogram.bins - quantile(histogram.counts[::-1], tail)
    return threshold, lower * histogram.width, upper * histogram.width


def _settle_entropy(seen: Observation, histogram: Histogram) -> tuple[float, float, float]:
    """Least KL divergence over |x|; a tensor of one sign has twice the levels in its asymmetric range."""
    rule = read_settings("observers")["entropy"]
    folded, first, step = histogram.fold(seen.magnitude), int(rule["first"]), int(rule["step"])
    threshold = kl_threshold(folded, int(rule["levels"]), first, step) * histogram.width
    clip = threshold
    if seen.low >= 0 or seen.high <= 0:
        levels = int(rule["one_sided_levels"])
        clip = kl_threshold(folded, levels, max(first, levels), step) * histogram.width
    return threshold, -clip, clip


def _settle_mse(seen: Observation, histogram: Histogram) -> tuple[float, float, float]:
    """Least squared error: 255 levels for the symmetric range, 256 for the asymmetric one."""
    moments = Moments(histogram)
    threshold = symmetric_range(moments, seen.magnitude)
    clip_low, clip_high = asymmetric_range(moments, min(0.0, seen.low), max(0.0, seen.high))
    return threshold, clip_low, clip_high


_OBSERVERS: dict[str, Callable[[Observation, Histogram], tuple[float, float, float]]] = {
    "percentile": _settle_percentile,
    "entropy": _settle_entropy,
    "mse": _settle_mse,
}
