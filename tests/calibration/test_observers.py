"""Histograms and observers against formulas written out in plain numpy."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest

from edgekit.calibration.find_range import Moments, symmetric_range
from edgekit.calibration.find_threshold import kl_threshold, quantile
from edgekit.calibration.histogram import Histogram
from edgekit.calibration.observers import Observation, observer_names, observer_parameters, settle_range
from edgekit.errors import UsageError


def observe(values: np.ndarray) -> Observation:
    histogram = Histogram()
    low, high = float(values.min()), float(values.max())
    histogram.grow(max(abs(low), abs(high)))
    histogram.add(values.copy())
    return Observation(low, high, histogram)


def squared_error(values: np.ndarray, low: float, step: float, levels: int) -> float:
    codes = np.clip(np.rint((values - low) / step), 0, levels - 1)
    return float(((values - (low + codes * step)) ** 2).sum())


def draw(kind: str) -> np.ndarray:
    generator = np.random.default_rng(3)
    values = {
        "normal": generator.normal(0, 2, 40_000),
        "laplace": generator.laplace(0, 1, 40_000),
        "relu": np.maximum(generator.laplace(0, 1, 40_000), 0),
        "outlier": np.append(generator.normal(0, 1, 40_000), [60.0]),
        "negative": -generator.gamma(2, 1, 40_000),
    }[kind]
    return values.astype(np.float32)


def test_histogram_counts_as_numpy_does_over_the_final_range() -> None:
    chunks = [np.random.default_rng(seed).normal(0, 10**seed, 5000).astype(np.float32) for seed in range(4)]
    histogram = Histogram()
    for chunk in chunks:
        histogram.grow(float(np.abs(chunk).max()))
        histogram.add(chunk.copy())
    values = np.concatenate(chunks).astype(np.float64)
    limit = 2.0 ** (math.floor(math.log2(np.abs(values).max())) + 1)
    expected, _ = np.histogram(values, bins=2 * 4096, range=(-limit, limit))
    np.testing.assert_array_equal(histogram.counts, expected)


def test_histogram_does_not_depend_on_the_order_of_samples() -> None:
    chunks = [draw("normal"), draw("outlier"), draw("relu") * 1e-6, np.zeros(7, np.float32)]
    results = []
    for order in (chunks, chunks[::-1]):
        histogram = Histogram()
        for chunk in order:
            histogram.grow(float(np.abs(chunk).max()))
            histogram.add(chunk.copy())
        results.append((histogram.exponent, histogram.counts.tolist()))
    assert results[0] == results[1]


def test_folded_histogram_counts_magnitudes() -> None:
    seen = observe(draw("laplace"))
    assert seen.histogram is not None
    folded = seen.histogram.fold(seen.magnitude)
    expected, _ = np.histogram(
        np.abs(draw("laplace").astype(np.float64)),
        bins=len(folded),
        range=(0, len(folded) * seen.histogram.width),
    )
    # The fold puts -k*width one bin higher than k*width; no drawn value lies on an edge.
    np.testing.assert_array_equal(folded, expected)


def test_minmax_keeps_the_extremes_and_zero() -> None:
    found = settle_range(Observation(1.5, 4.0), "minmax")
    assert (found.low, found.high, found.threshold, found.clip_low, found.clip_high) == (
        1.5,
        4.0,
        4.0,
        0.0,
        4.0,
    )
    found = settle_range(Observation(-3.0, 2.0), "minmax")
    assert (found.threshold, found.clip_low, found.clip_high) == (3.0, -3.0, 2.0)


@pytest.mark.parametrize("kind", ["normal", "laplace", "outlier"])
def test_percentile_lies_within_one_bin_of_numpys_quantile(kind: str) -> None:
    values = draw(kind)
    seen = observe(values)
    assert seen.histogram is not None
    found, width = settle_range(seen, "percentile"), seen.histogram.width
    exact = np.quantile(np.abs(values), 0.9999, method="inverted_cdf")
    assert exact - 1e-6 <= found.threshold <= exact + width
    for clip, side in ((found.clip_high, values), (-found.clip_low, -values)):
        exact = np.quantile(side, 0.99995, method="inverted_cdf")
        assert clip == pytest.approx(exact, abs=1.01 * width)


def test_quantile_is_the_first_bin_that_reaches_the_share() -> None:
    assert quantile(np.array([5, 3, 1, 1]), 0.5) == 1
    assert quantile(np.array([5, 3, 1, 1]), 0.51) == 2
    assert quantile(np.array([5, 3, 1, 1]), 1.0) == 4


def slow_kl(counts: np.ndarray, kept: int, levels: int) -> float:
    """KL(P || Q) with loops, as the observer's docstring defines P and Q."""
    total = counts.sum()
    p = counts[:kept].astype(float)
    p[-1] += counts[kept:].sum()
    edges = np.round(np.linspace(0, 1, levels + 1) * kept).astype(int)
    q = np.zeros(kept)
    for start, stop in itertools.pairwise(edges):
        filled = counts[start:stop] > 0
        if filled.any():
            q[start:stop][filled] = counts[start:stop].sum() / filled.sum()
    p, q = p / total, q / max(counts[:kept].sum(), 1)
    return float(sum(a * math.log(a / max(b, 1e-12)) for a, b in zip(p, q, strict=True) if a > 0))


@pytest.mark.parametrize("kind", ["normal", "laplace", "outlier", "relu"])
def test_entropy_threshold_has_the_least_kl_divergence_computed_with_loops(kind: str) -> None:
    counts, _ = np.histogram(np.abs(draw(kind)), bins=700)
    found = kl_threshold(counts, 128, 128, 8)
    kept = [*range(128, 700, 8), 700]
    losses = [slow_kl(counts, k, 128) for k in kept]
    assert slow_kl(counts, found, 128) == pytest.approx(min(losses), rel=1e-9, abs=1e-12)


def test_entropy_cuts_a_lone_outlier_where_minmax_does_not() -> None:
    seen = observe(draw("outlier"))
    assert settle_range(seen, "entropy").threshold < 8
    assert settle_range(seen, "minmax").threshold == 60


@pytest.mark.parametrize("kind", ["normal", "laplace", "outlier", "relu"])
def test_mse_threshold_loses_no_more_than_any_other_threshold_on_the_raw_values(kind: str) -> None:
    values = draw(kind).astype(np.float64)
    found = settle_range(observe(draw(kind)), "mse")
    tried = np.linspace(0.02, 1, 400) * np.abs(values).max()
    best = min(squared_error(values, -t, t / 127, 255) for t in tried)
    assert squared_error(values, -found.threshold, found.threshold / 127, 255) <= 1.02 * best


@pytest.mark.parametrize("kind", ["normal", "relu", "negative"])
def test_mse_clip_range_loses_no_more_than_the_extremes(kind: str) -> None:
    values = draw(kind).astype(np.float64)
    found = settle_range(observe(draw(kind)), "mse")
    step = (found.clip_high - found.clip_low) / 255
    whole = (max(0.0, values.max()) - min(0.0, values.min())) / 255
    assert squared_error(values, found.clip_low, step, 256) < squared_error(
        values, min(0.0, values.min()), whole, 256
    )


def test_mse_of_evenly_spread_values_keeps_nearly_everything() -> None:
    values = np.linspace(-1, 1, 100_001, dtype=np.float32)
    seen = observe(values)
    assert seen.histogram is not None
    assert symmetric_range(Moments(seen.histogram), 1.0) == pytest.approx(1.0, abs=0.02)


@pytest.mark.parametrize("observer", ["minmax", "percentile", "entropy", "mse"])
@pytest.mark.parametrize("value", [0.0, 3.0, -3.0, 1e-30, 3e38])
def test_a_constant_tensor_has_a_range_that_holds_it_and_zero(observer: str, value: float) -> None:
    found = settle_range(observe(np.full(100, value, np.float32)), observer)
    exact = float(np.float32(value))
    assert found.low == found.high == exact
    assert found.clip_low <= 0 <= found.clip_high
    assert 0.9 * abs(exact) <= found.threshold <= abs(exact)


@pytest.mark.parametrize("observer", ["percentile", "entropy", "mse"])
def test_no_observer_widens_the_extremes(observer: str) -> None:
    for kind in ("normal", "relu", "negative", "outlier"):
        values = draw(kind)
        found = settle_range(observe(values), observer)
        assert 0 < found.threshold <= float(np.abs(values).max())
        assert (
            min(0.0, float(values.min()))
            <= found.clip_low
            <= 0
            <= found.clip_high
            <= max(0.0, float(values.max()))
        )


def test_an_unknown_observer_is_refused_naming_the_nearest() -> None:
    with pytest.raises(UsageError, match="did you mean 'entropy'"):
        observer_parameters("entropie")
    assert observer_names() == ("minmax", "percentile", "entropy", "mse")
