"""Scales against the formulas of the two schemes."""

from __future__ import annotations

import numpy as np
import pytest

from edgekit._schemes import NATIVE_U8, PORTABLE, Scheme
from edgekit.calibration.record import CalibrationRecord, TensorRange
from edgekit.calibration.scales import derive_scales, quantize_weights, weight_scales, weight_zero_point
from edgekit.errors import ModelError


def record(**ranges: TensorRange) -> CalibrationRecord:
    return CalibrationRecord("model", "a" * 64, "b" * 64, "real", 4, "minmax", {}, ranges)


def seen(low: float, high: float) -> TensorRange:
    return TensorRange(low, high, max(abs(low), abs(high)), min(0.0, low), max(0.0, high))


@pytest.mark.parametrize("threshold", [1.0, 0.1, 6.0, 3.14159, 127.0, 1e-9, 0.0, 8e6])
def test_portable_scale_is_the_least_fp16_normal_number_not_below_threshold_over_127(
    threshold: float,
) -> None:
    params = derive_scales(record(x=seen(-threshold, 0)), PORTABLE).tensors["x"]
    every = np.arange(0x0400, 0x7C00, dtype=np.uint16).view(np.float16).astype(np.float64)
    assert params.scale == every[every >= threshold / 127].min()
    assert (params.zero_point, params.dtype) == (0, "int8")


def test_portable_scale_beyond_fp16_is_refused_naming_the_tensor() -> None:
    with pytest.raises(ModelError, match=r"'big'.*65504"):
        derive_scales(record(big=seen(0, 65504 * 127 * 1.01)), PORTABLE)


@pytest.mark.parametrize(
    ("low", "high", "zero_point"),
    [(0, 6, 0), (-6, 0, 255), (-1, 1.01, 127), (2, 6, 0), (-6, -2, 255), (0, 0, 0), (-0.37, 3, 28)],
)
def test_native_scale_spans_the_clip_range_with_an_exact_zero(
    low: float, high: float, zero_point: int
) -> None:
    params = derive_scales(record(x=seen(low, high)), NATIVE_U8).tensors["x"]
    assert params.dtype == "uint8"
    assert params.zero_point == zero_point
    span = max(0, high) - min(0, low)
    assert span / 255 <= params.scale
    assert params.scale <= span / 254 * (1 + 1e-6) or span == 0
    # Both ends of what was seen have a code, so nothing is clipped.
    assert -params.zero_point * params.scale <= min(0, low) + 1e-6
    assert (255 - params.zero_point) * params.scale >= max(0, high) - 1e-6


def test_scales_name_their_scheme_and_record() -> None:
    source = record(x=seen(0, 1))
    scales = derive_scales(source, PORTABLE)
    assert (scales.scheme, scales.record_digest) == ("portable", source.digest)


@pytest.mark.parametrize("scheme", [PORTABLE, NATIVE_U8])
@pytest.mark.parametrize("axis", [0, 1, -1, None])
def test_weights_come_back_within_half_a_step(scheme: Scheme, axis: int | None) -> None:
    weights = np.random.default_rng(1).normal(0, 1, (5, 4, 3)).astype(np.float32)
    scales = weight_scales(weights, axis, scheme)
    codes = quantize_weights(weights, axis, scheme, scales).astype(np.float64) - weight_zero_point(scheme)
    shape = [1] * 3
    if axis is not None:
        shape[axis] = -1
    steps = np.broadcast_to(scales.astype(np.float64).reshape(shape), weights.shape)
    assert np.abs(codes).max() <= 127
    assert (np.abs(codes * steps - weights) <= steps / 2 + 1e-7).all()


def test_native_weights_are_the_int8_integers_plus_128() -> None:
    weights = np.linspace(-1, 1, 12, dtype=np.float32).reshape(3, 4)
    scales = weight_scales(weights, 0, NATIVE_U8)
    signed = quantize_weights(weights, 0, PORTABLE, scales)
    unsigned = quantize_weights(weights, 0, NATIVE_U8, scales)
    assert unsigned.dtype == np.uint8
    np.testing.assert_array_equal(signed.astype(int) + 128, unsigned.astype(int))


def test_a_dead_channel_has_a_scale_that_fp16_holds_and_floors_are_kept() -> None:
    weights = np.array([[0, 0], [1e-12, 0], [1, -1]], np.float32)
    scales = weight_scales(weights, 0, PORTABLE)
    assert scales[0] == scales[1] == 2.0**-14
    floored = weight_scales(weights, 0, PORTABLE, floors=np.array([0.5, 0.25, 0.0], np.float32))
    assert floored.tolist() == [0.5, 0.25, scales[2]]


def test_weights_with_nan_are_refused() -> None:
    with pytest.raises(ModelError, match="NaN"):
        weight_scales(np.array([1, np.nan], np.float32), None, PORTABLE)
