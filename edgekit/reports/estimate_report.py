"""What `estimate` prints: one row a device, each figure with its kind, then what it rests on."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, count, quantity, table

if TYPE_CHECKING:
    from edgekit._estimate import DeviceEstimate, Estimate
    from edgekit._values import Measurement


def render_estimate(estimate: Estimate) -> str:
    """The ranking, the fastest device first; brackets hold the interval, 80 % as far as its basis says."""
    work = estimate.work
    counts = f"{count(work.macs)} MACs in {work.layers} layers, {count(work.weights)} weights"
    headers = ("device", "latency [interval]", "kind", "memory", "power", "verdict", "basis")
    blocks = [
        clean(f"{counts}, {estimate.precision}"),
        table(headers, [_row(device) for device in estimate.devices]),
    ]
    bases = dict.fromkeys(row.basis for device in estimate.devices for row in device.figures)
    return "\n\n".join([*blocks, "\n".join(clean(f"basis: {basis}") for basis in bases)])


def _row(device: DeviceEstimate) -> tuple[str, ...]:
    latency, memory, power = device.figures
    verdicts = ", ".join(f"{verdict.metric}: {verdict.status}" for verdict in device.verdicts)
    basis = latency.basis.partition(":")[0] if latency.kind != "unknown" else "unknown"
    return (
        device.device,
        _cell(latency),
        latency.kind,
        _cell(memory),
        _cell(power),
        verdicts or "no budget",
        basis,
    )


def _cell(row: Measurement) -> str:
    if row.value is None:
        return "unknown"
    said = quantity(row.value, row.unit)
    if row.interval is None:
        return said
    low, high = row.interval
    ends = "no upper end" if math.isinf(high) else quantity(high, row.unit)
    return f"{said} [{quantity(low, row.unit)}..{ends}]"
