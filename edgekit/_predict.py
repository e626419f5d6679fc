"""Predicts latency, memory and power of one device from counted work, or from a sibling's measurement.

Every figure has an interval and says on what it rests: `measured`, `sibling` or `spec`.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit._values import Measurement
from edgekit.profiles.read_fits import sibling_fits, toolchain_fit

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._values import Device
    from edgekit._work import Work

# Figures that give the peak of a precision. Sparse peaks and those of other units are left out.
_PEAKS = {"int8": ("int8_dense", "neural_engine_peak"), "fp16": ("fp16_dense",), "fp32": ("fp32",)}
# Times the roofline, where nothing was fitted: measured medians lie at 1.1 to 4.5, times 0.4 to 3 around 2.5.
_RULE = (1.0, 2.5, 7.5)


def predict(
    work: Work, device: Device, precision: str, *, measured: Mapping[str, float]
) -> tuple[Measurement, ...]:
    """Latency (ms), memory (B) and power (W) of one inference; `measured`: device -> ms there."""
    return (_latency(work, device, precision, measured), _memory(work, precision), _power(device))


def _latency(work: Work, device: Device, precision: str, measured: Mapping[str, float]) -> Measurement:
    """What was measured here; else the closest sibling's; else the spec sheet's."""
    if device.name in measured:
        return Measurement("latency", measured[device.name], "ms", "measured", "measured: given by the user")
    pairs = [
        (fit, source)
        for source in measured
        if (fit := sibling_fits().get((source, device.name, precision))) is not None
    ]
    if not pairs:
        return _from_spec(work, device, precision)
    fit, source = min(pairs, key=lambda pair: pair[0].width)
    ms = measured[source]
    basis = (
        f"sibling: {fit.scale:.3g} times {source}, from {fit.points} runs on the NPU ({fit.fitted}), median "
        f"error {100 * fit.error:.0f} %; a measurement on the device would narrow it"
    )
    return Measurement("latency", ms * fit.scale, "ms", "predicted", basis, (ms * fit.low, ms * fit.high))


def _from_spec(work: Work, device: Device, precision: str) -> Measurement:
    peak = next((device.figures[name] for name in _PEAKS[precision] if name in device.figures), None)
    bandwidth = device.figures.get("dram_bandwidth")
    if peak is None or bandwidth is None:
        lacking = f"{precision} peak" if peak is None else "memory bandwidth"
        basis = f"the device's {lacking} is not published; measure here or on a sibling"
        return Measurement("latency", None, "ms", "unknown", basis)
    fit = toolchain_fit(device.toolchain)
    if fit is not None and work.macs < fit.least_gmacs * 1e9:
        basis = (
            f"smaller than any model of the fit ({fit.least_gmacs:.3g} G MACs): launch costs lead; measure it"
        )
        return Measurement("latency", None, "ms", "unknown", basis)
    moved = work.weight_bytes(precision) + (0.0 if fit else work.activation_bytes(precision))
    roofline = 1e3 * max(2 * work.macs / (peak.value * 1e12), moved / (bandwidth.value * 1e9))
    low, middle, high = (fit.low, fit.scale, fit.high) if fit else _RULE
    how = (
        f"{fit.points} runs of one family ({fit.fitted}), whose band held {100 * fit.coverage:.0f} %"
        if fit
        else "a rule of thumb that was not fitted"
    )
    basis = f"spec: {middle:.2g} times the roofline, by {how}; a measurement would narrow it"
    return Measurement(
        "latency", roofline * middle, "ms", "predicted", basis, (roofline * low, roofline * high)
    )


def _memory(work: Work, precision: str) -> Measurement:
    weights = work.weight_bytes(precision)
    basis = (
        "spec: weights and live activations; the runtime's own memory is not in it, so no upper end is known"
    )
    value = weights + work.peak_bytes(precision)
    return Measurement("memory", value, "B", "predicted", basis, (weights, math.inf))


def _power(device: Device) -> Measurement:
    limit = device.figures.get("power_limit")
    if limit is None:
        return Measurement("power", None, "W", "unknown", "no power limit is published; measure it")
    basis = f"spec: the upper limit, no expectation ({limit.source}; {limit.confidence})"
    return Measurement("power", limit.value, "W", "predicted", basis, (0.0, limit.value))
