"""Power of a board while it computes: by its memory's traffic where that was fitted, else its load figure."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._results import Measurement
from edgekit.profiles.read_fits import power_fits

if TYPE_CHECKING:
    from edgekit._latency import Question
    from edgekit._values import Device


def power_of(question: Question, latency: Measurement, device: Device) -> Measurement:
    """Watts of the whole board during this work; without a fit, or a latency, those of any load."""
    fit = power_fits().get(question.runtime_on(device))
    names = ("power_idle", "power_load", "dram_bandwidth")
    idle, load, bandwidth = (device.figures.get(name) for name in names)
    if fit is None or not (idle and load and bandwidth and latency.value):
        return predict_power(device)
    gigabytes = question.work.traffic_bytes(question.precision) / 1e6 / latency.value  # a second
    used = min(gigabytes / (bandwidth.value * fit.full), 1.0)
    dynamic = (load.value - idle.value) * drawn_share(fit.base, used)
    limit = device.figures.get("power_limit")
    most = max(load.value, idle.value + dynamic) if limit is None else limit.value
    basis = (
        f"family-fit: idle ({idle.source}; {idle.confidence}), and of what the load adds "
        f"{100 * fit.base:.0f} % always, the rest as memory is used ({gigabytes:.3g} of "
        f"{bandwidth.value * fit.full:.3g} GB/s), by {fit.points} public runs of one network on one board "
        f"({fit.fitted}), off by {100 * fit.error:.0f} %; the interval is a rule; measure this model's own"
    )
    low, high = idle.value + dynamic * fit.low, min(idle.value + dynamic * fit.high, most)
    return Measurement("power", idle.value + dynamic, "W", "predicted", basis, (low, high))


def drawn_share(base: float, used: float) -> float:
    """Of the load's own power at a share `used` (0..1) of the memory traffic that goes with that load."""
    return base + (1 - base) * used


def predict_power(device: Device) -> Measurement:
    """Watts of the whole board while it computes; where no such figure is public, its limit."""
    load, idle, limit = (device.figures.get(f"power_{name}") for name in ("load", "idle", "limit"))
    if load is None and limit is None:
        return Measurement("power", None, "W", "unknown", "no power is published; measure it")
    if load is None:
        assert limit is not None
        basis = f"spec: the upper limit, no expectation ({limit.source}; {limit.confidence})"
        return Measurement("power", limit.value, "W", "predicted", basis, (0.0, limit.value))
    low = idle.value if idle is not None else load.value / 2
    high = limit.value if limit is not None else load.value * 1.5
    basis = f"spec: the board under load ({load.source}; {load.confidence}); measure this model's own"
    return Measurement("power", load.value, "W", "predicted", basis, (low, max(high, load.value)))
