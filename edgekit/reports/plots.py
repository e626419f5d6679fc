"""The report's plots as inline SVG: they take the page's text colour, so they read in light and dark."""

from __future__ import annotations

import io
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit._profile import Profile

# Stands for the page's own text colour until the SVG is written.
_TEXT = "#010203"
# Okabe and Ito's palette, told apart by colour-blind readers; each has 3:1 contrast on white and on black.
COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#8c8c8c")
_SETTINGS: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "edgekit",
    # Names come from models and devices: a "$" is no formula.
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.size": 9,
    "text.color": _TEXT,
    "axes.edgecolor": _TEXT,
    "axes.labelcolor": _TEXT,
    "xtick.color": _TEXT,
    "ytick.color": _TEXT,
    "axes.spines.top": False,
    "axes.spines.right": False,
}
_MOST_BINS = 60
_MOST_NAMED = 8
# Losses that are all zero still need an axis, in percent.
_LEAST_LOSS = 1.0
_WIDTH, _LEFT, _BELOW = 6.4, 0.6, 0.45


@dataclass(frozen=True)
class Point:
    """One artifact between latency and accuracy, measured or predicted."""

    device: str
    variant: str
    latency_ms: float
    loss: float
    kind: str
    int8: str


def plot_latencies(profile: Profile) -> str:
    """One histogram an artifact over a shared axis in ms; "" without timed runs."""
    timed = [artifact for artifact in profile.artifacts if len(artifact.latencies_ms) > 1]
    if not timed:
        return ""
    import numpy as np

    with _settings():
        figure, axes = _figure(1.7)
        everything = np.concatenate([np.asarray(artifact.latencies_ms) for artifact in timed])
        bins = np.linspace(everything.min(), everything.max() or 1.0, min(_MOST_BINS, len(everything)) + 1)
        for colour, artifact in zip(COLOURS * 3, timed, strict=False):
            name = f"{artifact.component} {artifact.variant}"
            counts, _ = np.histogram(artifact.latencies_ms, bins=bins)
            axes.stairs(counts, bins, fill=True, alpha=0.55, color=colour, label=name)
        axes.set_xlabel("latency, ms")
        axes.set_ylabel("runs")
        axes.legend(frameon=False)
        return _svg(figure)


def plot_traces(profile: Profile, unit: str, title: str) -> str:
    """All traces of one unit over time; "" where there is none."""
    traces = [trace for trace in profile.traces if trace.unit == unit and trace.values]
    if not traces:
        return ""
    with _settings():
        figure, axes = _figure(1.7)
        for colour, trace in zip(COLOURS * 10, traces, strict=False):
            axes.plot(
                trace.times_s, trace.values, color=colour, linewidth=1, label=trace.name.partition("/")[2]
            )
        axes.set_xlabel("time, s")
        axes.set_ylabel(title)
        axes.legend(frameon=False, ncols=3)
        return _svg(figure)


def plot_tradeoff(points: Sequence[Point]) -> str:
    """Accuracy loss against latency, one mark an artifact, hollow where predicted; "" for fewer than two."""
    if len(points) < 2:
        return ""
    devices = list(dict.fromkeys(point.device for point in points))
    colours = dict(zip(devices, COLOURS * 20, strict=False))
    with _settings():
        figure, axes = _figure(3.0)
        for point in points:
            colour = colours[point.device]
            face = "none" if point.kind == "predicted" else colour
            axes.plot([point.latency_ms], [point.loss], "o", color=colour, markerfacecolor=face)
            label = point.variant.rpartition("/")[2]
            axes.annotate(label, (point.latency_ms, point.loss), xytext=(4, 4), textcoords="offset points")
        if len(devices) <= _MOST_NAMED:
            for device in devices:
                axes.plot([], [], "o", color=colours[device], label=device)
            axes.legend(frameon=False, ncols=2, loc="upper center", bbox_to_anchor=(0.5, -0.22))
        axes.set_xlabel("mean latency, ms")
        axes.set_ylabel("accuracy loss, %")
        axes.margins(0.15)
        top = max(_LEAST_LOSS, axes.get_ylim()[1])
        axes.set_ylim(min(-top / 20, *(point.loss for point in points)), top)
        figure.set_layout_engine("constrained")
        return _svg(figure)


def draw(paint: Callable[[Any], None], *, height: float, right: float = 0.1, left: float = _LEFT) -> str:
    """The SVG of one plot that `paint` fills: `height` and the free room beside it in inches."""
    with _settings():
        figure, axes = _figure(height, right, left)
        paint(axes)
        return _svg(figure)


def draw_pair(paint: Callable[[Any, Any], None], *, height: float) -> str:
    """The SVG of two plots side by side that `paint` fills."""
    with _settings():
        figure, first = _figure(height, right=_WIDTH / 2)
        left, below, width, tall = first.get_position().bounds
        second = figure.add_axes((0.5 + left, below, width, tall))
        second.locator_params(nbins=5)
        paint(first, second)
        return _svg(figure)


def _settings() -> Any:
    import matplotlib as mpl

    return mpl.rc_context(_SETTINGS)


def _figure(height: float, right: float = 0.1, left: float = _LEFT) -> tuple[Any, Any]:
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH, height))
    # Set by hand, in inches: matplotlib's own layout draws each plot twice.
    figure.subplots_adjust(left / _WIDTH, _BELOW / height, 1 - right / _WIDTH, 1 - 0.1 / height)
    axes = figure.add_subplot()
    axes.locator_params(nbins=5)
    return figure, axes


def _svg(figure: Any) -> str:
    text = io.StringIO()
    figure.savefig(text, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    svg = text.getvalue()
    return svg[svg.index("<svg") :].replace(_TEXT, "currentColor")
