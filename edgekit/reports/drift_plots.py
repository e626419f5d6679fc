"""The plots of a drift: a tensor's numbers beside its baseline's, and what a fleet takes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.plots import COLOURS, draw, draw_pair
from edgekit.reports.terminal import shorten

if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any

    from edgekit._field import Curves, DeviceFigure

BASELINE, FIELD, LIMIT = COLOURS[0], COLOURS[1], COLOURS[4]
_BINS = 40
#: So many devices are drawn one by one; of more, how many there are at each factor.
MOST_NAMED = 20
_LONGEST_NAME = 24


def plot_numbers(curves: Curves) -> str:
    """How many numbers there are at each value, and the share at or below it; "" where there are none.

    The widest gap of the two shares is `ks`. What the artifact's own error may be is taken off the field's
    line; dotted is the field as it was seen.
    """
    if not curves.baseline or not curves.field:
        return ""
    import numpy as np

    counted = curves.counted or curves.field
    everything = np.concatenate((curves.baseline, curves.field))
    low, high = float(everything.min()), float(everything.max())
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2

    def paint(left: Any, right: Any) -> None:
        bins = np.linspace(low, high, _BINS + 1)
        for values, colour, label in ((curves.baseline, BASELINE, "baseline"), (counted, FIELD, "field")):
            shares = 100 * np.histogram(values, bins=bins)[0] / len(values)
            left.stairs(shares, bins, fill=True, color=colour, alpha=0.3)
            left.stairs(shares, bins, color=colour, linewidth=1, label=label)
            right.step(*_steps(values, low, high), where="post", color=colour, linewidth=1.3)
        if curves.counted:
            seen = _steps(curves.field, low, high)
            right.step(*seen, where="post", color=FIELD, linewidth=1, linestyle=":", label="field, as seen")
        _mark_gap(right, curves.baseline, counted)
        left.set_ylabel("numbers, %")
        right.set_ylabel("at or below, %")
        for axes in (left, right):
            axes.set_xlabel("value")
            axes.legend(frameon=False)

    return draw_pair(paint, height=1.9)


def plot_fleet(figures: Sequence[DeviceFigure]) -> str:
    """Each device's median as a multiple of what was expected, with the limit; "" where nothing was.

    figures: of one artifact and quantity, the worst first.
    """
    ratios = [one.ratio for one in figures if one.ratio is not None]
    if not ratios:
        return ""
    first = figures[0]
    limit = (first.limit or 0.0) / (first.expected or 1.0)
    named = len(ratios) <= MOST_NAMED

    def paint(axes: Any) -> None:
        if named:
            colours = [FIELD if ratio > limit else BASELINE for ratio in ratios]
            axes.barh(range(len(ratios)), ratios, color=colours, height=0.6)
            names = [shorten(one.device, _LONGEST_NAME) for one in figures]
            axes.set_yticks(range(len(ratios)), labels=names)
            axes.invert_yaxis()
        else:
            axes.hist(ratios, bins=_BINS, color=BASELINE)
            axes.set_ylabel("devices")
        axes.axvline(1.0, color=LIMIT, linewidth=1.5, label="expected")
        axes.axvline(limit, color=LIMIT, linewidth=1.5, linestyle="--", label="limit")
        axes.set_xlabel(f"{first.quantity}, times the expected {first.expected:.4g} {first.unit}")
        axes.legend(frameon=False)

    tall = 0.85 + 0.22 * len(ratios) if named else 1.9
    return draw(paint, height=tall, left=1.8 if named else 0.6)


def _steps(values: Sequence[float], low: float, high: float) -> tuple[list[float], list[float]]:
    """The points of a cumulative line, in percent."""
    shares = [100 * (place + 1) / len(values) for place in range(len(values))]
    return [low, *values, high], [0.0, *shares, 100.0]


def _mark_gap(axes: Any, baseline: Sequence[float], field: Sequence[float]) -> None:
    """A bar between the two lines where they are furthest apart."""
    import numpy as np

    points = np.union1d(baseline, field)
    ends = [100 * np.searchsorted(one, points, side="right") / len(one) for one in (baseline, field)]
    place = int(np.abs(ends[0] - ends[1]).argmax())
    axes.plot([points[place]] * 2, [one[place] for one in ends], color=LIMIT, linewidth=2, label="widest gap")
