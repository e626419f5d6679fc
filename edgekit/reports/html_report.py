"""The feasibility report as one HTML page that works offline: no script, no font, no request."""

from __future__ import annotations

from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING

import edgekit
from edgekit._profile import find_measurement
from edgekit.errors import MissingToolError
from edgekit.reports.convert_report import proof_lines, proof_rows
from edgekit.reports.plots import plot_latencies, plot_traces, plot_tradeoff
from edgekit.reports.terminal import clean, quantity

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgekit._feasibility import DeviceReport, Report
    from edgekit._profile import ArtifactProfile, LayerTime, Profile
    from edgekit._values import Measurement

#: Heading -> measurement of an artifact, as `edgekit profile` names it.
MEASURED = {
    "mean": "latency/mean",
    "p50": "latency/p50",
    "p90": "latency/p90",
    "p95": "latency/p95",
    "p99": "latency/p99",
    "min": "latency/min",
    "max": "latency/max",
    "first run": "latency/first",
    "load": "load",
    "peak memory": "memory/peak",
    "power": "power/mean",
    "energy": "energy/inference",
    "soak burst": "soak/burst",
    "soak sustained": "soak/sustained",
}
_WORDS = {"fits": "good", "does not fit": "bad", "unknown": "open"}
_LAYERS_SHOWN = 40
_TRACES = (("W", "power, W"), ("C", "temperature, °C"), ("MHz", "clock, MHz"))


@dataclass(frozen=True)
class _Row:
    """One device as the template shows it."""

    device: DeviceReport
    word: str
    cells: tuple[str, ...]
    source: str
    artifacts: list[tuple[str, ...]]
    proofs: list[str]
    profile: Profile | None
    measured: list[tuple[str, list[str]]]
    plots: list[tuple[str, str]]
    layers: list[tuple[str, float, list[LayerTime]]]
    layer_notes: list[str]


def render_html(report: Report, title: str) -> str:
    """The whole page; MissingToolError where jinja2 or matplotlib is not installed."""
    try:
        import matplotlib as mpl
        from jinja2 import Environment, StrictUndefined
        from markupsafe import Markup
    except ImportError as error:
        raise MissingToolError(
            f"the HTML page needs {error.name}", fix='pip install "edgekit[report]"'
        ) from error
    del mpl
    page = files("edgekit.reports").joinpath("page")
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    template = environment.from_string(page.joinpath("report.html.j2").read_text(encoding="utf-8"))
    rows = [_row(device, report.columns) for device in report.devices]
    for row in rows:
        row.plots[:] = [(label, Markup(plot)) for label, plot in row.plots]
    return template.render(
        title=title,
        lead=_lead(report),
        style=Markup(page.joinpath("style.css").read_text(encoding="utf-8")),
        report=report,
        rows=rows,
        measure_columns=list(MEASURED),
        tradeoff=Markup(plot_tradeoff(list(_points(report.devices)))),
        version=edgekit.__version__,
    )


def _finalize(value: object) -> object:
    """Text from models and devices without control characters; escaping is the environment's."""
    return clean(value) if type(value) is str else value


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
        source=f"measured on {profile.place}" if profile else "the host: size and proof only",
        artifacts=proof_rows(device.artifacts, device.parities, dict(device.sizes)),
        proofs=proof_lines(device.parities),
        profile=profile,
        measured=[(f"{one.component} {one.variant}", _cells(one)) for one in artifacts],
        plots=_plots(profile) if profile else [],
        layers=[_layers(one) for one in artifacts if one.layers],
        layer_notes=[
            f"{one.component} {one.variant}, time by layer: {one.layers_note}"
            for one in artifacts
            if one.layers_note
        ],
    )


def _figure(row: Measurement | None) -> str:
    """A figure with its label, or that nobody knows."""
    if row is None or row.value is None:
        return "unknown"
    return f"{quantity(row.value, row.unit)} {row.kind}"


def _cells(artifact: ArtifactProfile) -> list[str]:
    found = [find_measurement(artifact, name) for name in MEASURED.values()]
    return [_measured(row) for row in found]


def _measured(row: Measurement | None) -> str:
    if row is None or row.value is None:
        return "not measured"
    said = quantity(row.value, row.unit)
    if row.interval is None:
        return said
    return f"{said} ± {quantity((row.interval[1] - row.interval[0]) / 2, row.unit)}"


def _layers(artifact: ArtifactProfile) -> tuple[str, float, list[LayerTime]]:
    total = sum(layer.us for layer in artifact.layers) or 1.0
    slowest = sorted(artifact.layers, key=lambda layer: -layer.us)[:_LAYERS_SHOWN]
    return f"{artifact.component} {artifact.variant}", total, slowest


def _plots(profile: Profile) -> list[tuple[str, str]]:
    drawn = [("Latency of each run", plot_latencies(profile))]
    drawn += [(f"{title} over time", plot_traces(profile, unit, title)) for unit, title in _TRACES]
    return [(label, plot) for label, plot in drawn if plot]


def _points(devices: Iterable[DeviceReport]) -> Iterable[tuple[str, float, float]]:
    for device in devices:
        known = {
            row.metric: row.value
            for row in device.figures
            if row.value is not None and row.kind == "measured"
        }
        if "latency" in known and "accuracy_loss" in known:
            yield device.device, known["latency"], known["accuracy_loss"]
