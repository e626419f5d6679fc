"""What `estimate` prints: one row a device, each figure with its kind, then what it rests on."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, count, quantity, table, with_interval

if TYPE_CHECKING:
    from edgekit._estimate import DeviceEstimate, Estimate
    from edgekit._fallback import Split
    from edgekit._results import Measurement


_COLUMNS = (
    "latency", "time_to_first_token", "tokens_per_s", "sustained_latency", "sustained_tokens_per_s",
    "memory", "power", "energy", "battery",
)  # fmt: skip


def render_estimate(estimate: Estimate) -> str:
    """The ranking, the fastest device first; brackets hold the interval, 80 % as far as its basis says."""
    counts = [
        f"{name}: {count(work.macs)} MACs in {work.layers} layers, {count(work.weights)} weights"
        f"{_cache(estimate, name)}"
        for name, work in estimate.work.items()
    ]
    counts += [] if estimate.split is None else [_split_words(estimate.split)]
    metrics = [name for name in _COLUMNS if any(_find(row, name) for row in estimate.devices)]
    headers = ("device", *(name.replace("_", " ") for name in metrics), "verdict", "basis of latency")
    blocks = [
        "\n".join(map(clean, [*filter(None, [estimate.title]), *counts, f"precision: {estimate.precision}"])),
        table(headers, [_row(device, metrics) for device in estimate.devices]),
    ]
    rows = [
        (row.metric.replace("_", " "), row.basis) for device in estimate.devices for row in device.figures
    ]
    if len(estimate.devices) == 1 and estimate.devices[0].steps:
        blocks.append(_steps(estimate.devices[0]))
        rows += [
            (f"{step.component}, {step.phase}", step.latency.basis) for step in estimate.devices[0].steps
        ]
    bases = (clean(f"basis of {name}: {basis}") for name, basis in dict.fromkeys(rows))
    return "\n\n".join([*blocks, "\n".join(bases)])


def _split_words(split: Split) -> str:
    return (
        f"on the CPU: {split.on_cpu} nodes; the rest runs in {split.parts} parts, {split.crossings} tensors "
        f"of {count(split.crossed)} numbers are copied between them"
    )


def _cache(estimate: Estimate, name: str) -> str:
    if name not in estimate.cache_per_token:
        return ""
    each = estimate.cache_per_token[name]
    return f", KV cache {'of unknown growth' if each is None else quantity(each, 'B') + ' a token'}"


def _steps(device: DeviceEstimate) -> str:
    rows = [
        (
            step.component,
            step.phase,
            str(step.repeat),
            _cell(step.latency),
            step.latency.basis.partition(":")[0],
        )
        for step in device.steps
    ]
    return table(("component", "phase", "runs", "one run", "basis"), rows)


def _find(device: DeviceEstimate, metric: str) -> Measurement | None:
    return next((row for row in device.figures if row.metric == metric), None)


def _row(device: DeviceEstimate, metrics: list[str]) -> tuple[str, ...]:
    verdicts = ", ".join(f"{verdict.metric}: {verdict.status}" for verdict in device.verdicts)
    latency = device.latency
    basis = latency.basis.partition(":")[0] if latency.kind != "unknown" else "unknown"
    found = [_find(device, metric) for metric in metrics]
    cells = ["" if row is None else _cell(row) for row in found]
    return (device.device, *cells, verdicts or "no budget", basis)


def _cell(row: Measurement) -> str:
    """What has an interval is predicted; whatever has none says what it is."""
    said = with_interval(row)
    return said if row.value is None or row.interval is not None else f"{said} {row.kind}"
