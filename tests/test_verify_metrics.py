"""Metrics against numbers worked out by hand and numpy formulas written out."""

from __future__ import annotations

import math
import tracemalloc
from typing import Any

import numpy as np
import pytest

from edgekit._verify.metrics import OutputComparison, edit_distance
from edgekit.errors import GateError


def f32(values: Any) -> Any:
    return np.asarray(values, np.float32)


def f64(values: Any) -> Any:
    return np.asarray(values, np.float64)


def i64(values: Any) -> Any:
    return np.asarray(values, np.int64)


def u8(values: Any) -> Any:
    return np.asarray(values, np.uint8)


def i8(values: Any) -> Any:
    return np.asarray(values, np.int8)


def u64(values: Any) -> Any:
    return np.asarray(values, np.uint64)


def f16(values: Any) -> Any:
    return np.asarray(values, np.float16)


def compare(actual: Any, expected: Any, output: Any = "y") -> Any:
    comparison = OutputComparison(output)
    comparison.add(np.asarray(actual), np.asarray(expected))
    return comparison.result()


def test_sqnr_is_ten_log_of_signal_power_over_noise_power() -> None:
    # signal 3^2 + 4^2 = 25, noise 0.5^2 = 0.25: 10 log10(100) = 20 dB
    parity = compare(f32([[3.0, 4.5]]), f32([[3.0, 4.0]]))
    assert parity.sqnr_db == pytest.approx(20.0)
    assert parity.max_abs == 0.5


def test_cosine_is_dot_over_norms() -> None:
    # (1, 0) against (1, 1): cos 45 degrees
    assert compare(f32([1, 0]), f32([1, 1])).cosine == pytest.approx(math.sqrt(0.5))


def test_many_samples_give_the_same_as_one_long_one() -> None:
    rng = np.random.default_rng(1)
    want = rng.standard_normal((8, 5, 7)).astype(np.float32)
    got = want + rng.standard_normal(want.shape).astype(np.float32) / 30
    comparison = OutputComparison("y")
    for index in range(8):
        comparison.add(got[index], want[index])
    parity = comparison.result()
    noise = (got.astype(np.float64) - want) ** 2
    assert parity.sqnr_db == pytest.approx(10 * np.log10((want.astype(np.float64) ** 2).sum() / noise.sum()))
    flat = got.ravel().astype(np.float64), want.ravel().astype(np.float64)
    assert parity.cosine == pytest.approx(
        flat[0] @ flat[1] / np.linalg.norm(flat[0]) / np.linalg.norm(flat[1])
    )
    assert parity.max_abs == pytest.approx(np.abs(flat[0] - flat[1]).max())
    assert parity.top1 == pytest.approx((got.argmax(-1) == want.argmax(-1)).mean())


def test_memory_does_not_grow_with_samples() -> None:
    comparison = OutputComparison("y")
    array = np.ones((1, 1000), np.float32)
    comparison.add(array, array)
    tracemalloc.start()
    for _ in range(500):
        comparison.add(array, array)
    kept, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert kept < 50_000


def test_a_large_output_is_compared_in_pieces_that_all_count() -> None:
    want = np.ones(3_000_000, np.float32)
    got = want.copy()
    got[-1] = 3.0
    parity = compare(got, want)
    assert parity.max_abs == 2.0
    assert parity.sqnr_db == pytest.approx(10 * math.log10(3_000_000 / 4))


def test_equal_outputs_have_infinite_sqnr() -> None:
    parity = compare(f32([[1, 2]]), f32([[1, 2]]))
    assert (parity.sqnr_db, parity.cosine, parity.max_abs, parity.top1) == (math.inf, 1.0, 0.0, 1.0)


@pytest.mark.parametrize(
    ("actual", "expected"),
    [
        ([np.nan, 1], [0, 1]),
        ([0, 1], [np.nan, 1]),
        ([np.nan, 1], [np.nan, 1]),
        ([np.inf, 1], [0, 1]),
        ([np.inf, 1], [-np.inf, 1]),
    ],
)
def test_nan_and_unequal_infs_are_never_good(actual: Any, expected: Any) -> None:
    parity = compare(f32(actual), f32(expected))
    assert (parity.sqnr_db, parity.cosine, parity.max_abs) == (-math.inf, 0.0, math.inf)


def test_equal_infs_are_equal_and_leave_the_sums() -> None:
    parity = compare(f32([[np.inf, 3.0, 4.5]]), f32([[np.inf, 3.0, 4.0]]))
    assert parity.sqnr_db == pytest.approx(20.0)
    assert parity.top1 == 1.0


def test_one_nan_sample_among_good_ones_stays_visible() -> None:
    comparison = OutputComparison("y")
    comparison.add(f32([np.nan]), f32([1]))
    comparison.add(np.ones(1000, np.float32), np.ones(1000, np.float32))
    assert comparison.result().sqnr_db == -math.inf


def test_zero_signal_with_noise_is_minus_infinity_and_without_is_equal() -> None:
    assert compare(f32([1e-6]), f32([0])).sqnr_db == -math.inf
    assert compare(f32([0]), f32([0])).sqnr_db == math.inf
    assert compare(f32([1e-6]), f32([0])).cosine == 0.0


def test_squares_that_overflow_are_not_good() -> None:
    assert compare(f64([1e300]), f64([1.1e300])).sqnr_db == -math.inf
    assert compare(f64([1e308]), f64([-1e308])).sqnr_db == -math.inf


def test_large_integers_one_apart_are_not_equal() -> None:
    parity = compare(i64([2**62 + 1]), i64([2**62]))
    assert parity.max_abs == 1.0
    assert parity.sqnr_db == pytest.approx(20 * math.log10(2**62))
    assert parity.top1 == 0.0


def test_integer_extremes_do_not_wrap_around() -> None:
    low, high = np.iinfo(np.int64).min, np.iinfo(np.int64).max
    assert compare(i64([high]), i64([low])).max_abs == pytest.approx(2.0**64)
    assert compare(u8([0]), u8([255])).max_abs == 255.0
    assert compare(i8([-128]), i8([127])).max_abs == 255.0
    assert compare(u64([2**64 - 1]), u64([0])).max_abs == pytest.approx(2.0**64)


def test_bools_compare_as_decisions() -> None:
    parity = compare(np.array([True, False, True, True]), np.array([True, True, True, True]))
    assert parity.top1 == 0.75
    assert parity.max_abs == 1.0


def test_class_indices_agree_where_they_are_equal() -> None:
    assert compare(i64([3, 5, 7, 9]), i64([3, 5, 7, 8])).top1 == 0.75


def test_empty_outputs_prove_nothing() -> None:
    parity = compare(np.zeros((0, 4), np.float32), np.zeros((0, 4), np.float32))
    assert math.isnan(parity.sqnr_db)
    assert parity.top1 is None


def test_an_empty_sample_does_not_disturb_the_others() -> None:
    comparison = OutputComparison("y")
    comparison.add(np.zeros((0, 2), np.float32), np.zeros((0, 2), np.float32))
    comparison.add(f32([[3.0, 4.5]]), f32([[3.0, 4.0]]))
    assert comparison.result().sqnr_db == pytest.approx(20.0)


def test_top1_of_a_sequence_is_per_time_step() -> None:
    want = f32([[[0.9, 0.1], [0.2, 0.8], [0.6, 0.4]]])  # argmax 0 1 0
    got = f32([[[0.8, 0.2], [0.7, 0.3], [0.9, 0.1]]])  # argmax 0 0 0
    assert compare(got, want).top1 == pytest.approx(2 / 3)


def test_either_choice_of_an_exact_tie_agrees() -> None:
    assert compare(f32([[0.1, 0.5, 0.4]]), f32([[0.5, 0.5, 0.0]])).top1 == 1.0
    assert compare(f32([[0.1, 0.2, 0.4]]), f32([[0.5, 0.5, 0.0]])).top1 == 0.0


@pytest.mark.parametrize("shape", [(4, 1), (1, 1, 8, 8), (1, 3, 8, 8), (7,), ()])
def test_top1_is_none_for_maps_scalars_and_single_columns(shape: Any) -> None:
    array = np.ones(shape, np.float32)
    assert compare(array, array).top1 is None


def test_half_floats_compare_with_full_ones() -> None:
    assert compare(f16([[1.0, 2.0]]), f32([[1.0, 2.0]])).sqnr_db == math.inf


@pytest.mark.parametrize(
    ("actual", "expected", "told"),
    [
        (np.zeros((1, 2), np.float32), np.zeros((2, 1), np.float32), "shape (1, 2), expected (2, 1)"),
        (np.zeros(2, np.int32), np.zeros(2, np.float32), "gave int32, expected float32"),
        (np.array(["a"], object), np.array(["a"], object), "no numeric comparison"),
        (np.zeros(1, np.complex64), np.zeros(1, np.complex64), "no numeric comparison"),
    ],
)
def test_outputs_that_cannot_be_compared_are_refused_by_name(actual: Any, expected: Any, told: Any) -> None:
    with pytest.raises(GateError) as caught:
        compare(actual, expected, "logits")
    assert "logits" in str(caught.value)
    assert told in str(caught.value)


@pytest.mark.parametrize(
    ("actual", "expected", "edits"),
    [
        ("kitten", "sitting", 3),
        ("", "abc", 3),
        ("abc", "", 3),
        ("flaw", "lawn", 2),
        ("x", "x", 0),
        ("", "", 0),
    ],
)
def test_edit_distance_of_textbook_pairs(actual: Any, expected: Any, edits: Any) -> None:
    assert edit_distance(actual, expected) == edits
