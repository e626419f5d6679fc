"""The feasibility report as one HTML page that works offline: no script, no font, no request."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._budget import AT_LEAST
from edgekit._profile import find_measurement
from edgekit.reports.convert_report import mac_words, note_lines, proof_lines, proof_rows, reference_cells
from edgekit.reports.layer_sections import layer_sections
from edgekit.reports.offline_page import open_page
from edgekit.reports.plots import Point, plot_latencies, plot_traces, plot_tradeoff
from edgekit.reports.terminal import quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from edgekit._feasibility import DeviceReport, Report
    from edgekit._profile import ArtifactProfile, Profile
    from edgekit._results import Measurement
    from edgekit._values import Artifact
    from edgekit.reports.layer_sections import LayerSection

#: Heading -> measurement of an artifact, as `edgekit profile` names it.
MEASURED = {
    "mean": "latency/mean",
    "p50": "latency/p50",
    "p90": "latency/p90",
    "p95": "latency/p95",
    "p99": "latency/p99",
    "min": "latency/min",
    "max": "latency/max",
    "std": "latency/std",
    "first run": "latency/first",
    "load": "load",
    "peak memory": "memory/peak",
    "throughput": "throughput",
    "power": "power/mean",
    "energy": "energy/total",
    "dynamic energy": "energy/dynamic",
    "soak burst": "soak/burst",
    "soak sustained": "soak/sustained",
    "time to throttle": "soak/time_to_throttle",
}
_WORDS = {
    "fits": "good",
    "likely fits": "open",
    "unknown": "open",
    "likely does not fit": "open",
    "does not fit": "bad",
}
_FIRST_FACTS = (
    "board",
    "model",
    "soc",
    "cpu",
    "machine",
    "system",
    "android",
    "macos",
    "jetpack",
    "power_mode",
)
_TRACES = (
    ("ms", "latency, ms"),
    ("W", "power, W"),
    ("C", "temperature, °C"),
    ("MHz", "clock, MHz"),
)


@dataclass(frozen=True)
class _Row:
    """One device as the template shows it."""

    device: DeviceReport
    word: str
    cells: tuple[tuple[str, str], ...]
    facts: list[tuple[str, str]]
    notes: list[str]
    source: str
    artifacts: list[tuple[str, ...]]
    proofs: list[str]
    profile: Profile | None
    measured: tuple[list[str], list[tuple[str, list[str]]]]
    plots: list[tuple[str, str]]
    units: list[tuple[str, ...]]
    layers: list[LayerSection]
    layer_notes: list[str]


def render_html(report: Report, title: str) -> str:
    """The whole page; MissingToolError where jinja2 or matplotlib is not installed."""
    page = open_page("report.html.j2")
    rows = [_row(device, report.columns) for device in report.devices]
    for row in rows:
        row.plots[:] = [(label, page.drawn(plot)) for label, plot in row.plots]
    return page.render(
        title=title,
        lead=_lead(report),
        report=report,
        rows=rows,
        points=(points := list(_points(report.devices))),
        tradeoff=page.drawn(plot_tradeoff(points)),
        at_least=AT_LEAST,
    )


def _lead(report: Report) -> str:
    counts = {word: sum(device.overall == word for device in report.devices) for word in _WORDS}
    said = [f"{count} {word}" for word, count in counts.items() if count]
    return f"{len(report.devices)} devices: {', '.join(said)}." if len(report.devices) != 1 else f"{said[0]}."


def _row(device: DeviceReport, columns: Sequence[str]) -> _Row:
    figures = {row.metric: row for row in device.figures}
    profile = device.newest
    artifacts = profile.artifacts if profile else ()
    return _Row(
        device=device,
        word=_WORDS[device.overall],
        cells=tuple(_figure(figures.get(name)) for name in columns),
        facts=_facts(profile) if profile else [],
        notes=[note for note in profile.notes if note not in device.reasons] if profile else [],
        source=_source(device),
        artifacts=_artifacts(device),
        proofs=[*proof_lines(device.parities), *note_lines(device.artifacts, device.parities)],
        profile=profile,
        measured=_measurements(artifacts),
        plots=_plots(profile) if profile else [],
        units=[*_units(artifacts), *_units(device.artifacts)],
        layers=list(layer_sections(artifacts, device.errors)),
        layer_notes=[
            f"{one.component} {one.variant}, time by layer: {one.layers_note}"
            for one in artifacts
            if one.layers_note
        ],
    )


def _artifacts(device: DeviceReport) -> list[tuple[str, ...]]:
    """A convert's rows, and behind the SQNR against fp32 that against the Q/DQ graph, where one has it."""
    rows = proof_rows(device.artifacts, device.parities, dict(device.sizes))
    near = reference_cells(device.artifacts, device.parities)
    return [(*row[:4], cell, *row[4:]) for row, cell in zip(rows, near, strict=True)]


def _units(artifacts: Iterable[ArtifactProfile | Artifact]) -> Iterator[tuple[str, ...]]:
    """Where operators ran on a device, or where a compiler put them: each row says by whom it is known."""
    for one in artifacts:
        for row in one.placements:
            count = "not told" if row.ops is None else str(row.ops)
            yield f"{one.component} {one.variant}", row.unit, count, row.why


def _source(device: DeviceReport) -> str:
    """Where a row's figures come from."""
    if device.newest is not None:
        other = "" if device.newest.matches else ", another machine: not counted"
        return f"measured on {device.newest.place}{other}"
    if device.field:
        return f"measured on {device.field}"
    if any(row.kind == "predicted" for row in device.figures):
        return "the host, and a prediction"
    return "the host: size and proof only"


def _figure(row: Measurement | None) -> tuple[str, str]:
    """A figure, and its label with a prediction's interval; or that nobody knows."""
    if row is None or row.value is None:
        return "unknown", ""
    said = quantity(row.value, row.unit)
    if row.kind != "predicted" or row.interval is None:
        return said, row.kind
    low, high = row.interval
    ends = quantity(low, row.unit), "more" if math.isinf(high) else quantity(high, row.unit)
    return said, f"{row.kind}, {ends[0]} to {ends[1]}"


def _facts(profile: Profile) -> list[tuple[str, str]]:
    """What the machine says it is, the telling ones first; its boot id tells a reader nothing."""
    known = [*_FIRST_FACTS, *sorted(set(profile.facts) - {*_FIRST_FACTS, "boot"})]
    return [(name, profile.facts[name]) for name in known if name in profile.facts]


def _measurements(artifacts: Sequence[ArtifactProfile]) -> tuple[list[str], list[tuple[str, list[str]]]]:
    """(artifacts, (what, a cell each)): rows that nothing measured are left out, but for power and energy."""
    rows = []
    for heading, name in MEASURED.items():
        found = [find_measurement(one, name) for one in artifacts]
        known = any(row is not None and row.value is not None for row in found)
        if known or heading in ("power", "energy"):
            rows.append((heading, [_measured(row) for row in found]))
    return [f"{one.component} {one.variant}" for one in artifacts], rows


def _measured(row: Measurement | None) -> str:
    if row is None or row.value is None:
        return "not measured"
    said = quantity(row.value, row.unit)
    if row.interval is None:
        return said
    return f"{said} ± {quantity((row.interval[1] - row.interval[0]) / 2, row.unit)}"


def _plots(profile: Profile) -> list[tuple[str, str]]:
    drawn = [("Latency of each run", plot_latencies(profile))]
    drawn += [(f"{title} over time", plot_traces(profile, unit, title)) for unit, title in _TRACES]
    return [(label, plot) for label, plot in drawn if plot]


def _points(devices: Iterable[DeviceReport]) -> Iterator[Point]:
    """Every artifact with a latency and a loss; without a measurement the offered one's prediction."""
    for device in devices:
        shares = {f"{one.component}/{one.variant}": one.macs for one in device.parities}
        timed = device.newest.artifacts if device.newest is not None and device.newest.matches else ()
        for one in timed:
            place = f"{one.component}/{one.variant}"
            row = find_measurement(one, "latency/mean")
            if row is not None and row.value is not None and place in device.losses:
                loss = device.losses[place].value or 0.0
                yield Point(device.device, place, row.value, loss, row.kind, mac_words(shares.get(place)))
        known = {row.metric: row for row in device.figures if row.value is not None}
        if not timed and "latency" in known and "accuracy_loss" in known:
            offered = f"{device.artifacts[0].component}/{device.artifacts[0].variant}"
            values = known["latency"].value or 0.0, known["accuracy_loss"].value or 0.0
            words = mac_words(shares.get(offered))
            yield Point(device.device, offered, *values, known["latency"].kind, words)
