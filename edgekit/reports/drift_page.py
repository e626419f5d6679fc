"""The drift of a fleet as one HTML page that works offline: each tensor and each device, with plots."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.reports.drift_plots import plot_fleet, plot_numbers
from edgekit.reports.offline_page import Page, open_page
from edgekit.reports.terminal import quantity

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._field import DeviceFigure, DriftResult, TensorDrift

_WORDS = {"drift": "bad", "moved": "open", "unknown": "open", "stable": "good"}
_NAMES = {"psi": "psi", "ks": "ks", "wasserstein": "wasserstein", "nonfinite": "not finite"}
_MOST_DRAWN = 24
_MOST_MISSED = 20


@dataclass(frozen=True)
class _Tensor:
    """One tensor as the template shows it; plot: "" where none is drawn."""

    tensor: TensorDrift
    place: int
    name: str
    whose: str
    word: str
    cells: list[tuple[str, str]]
    rounding: str
    plot: str


@dataclass(frozen=True)
class _Fleet:
    """One quantity of one artifact over all devices; missed: a row each, the worst first."""

    name: str
    word: str
    verdict: str
    says: str
    basis: str
    plot: str
    missed: list[tuple[str, ...]]
    left_out: int


def render_page(result: DriftResult) -> str:
    """The whole page; MissingToolError where jinja2 or matplotlib is not installed."""
    page = open_page("drift.html.j2")
    ordered = sorted(result.tensors, key=lambda one: list(_WORDS).index(one.status))
    rows = [_row(place, one, result, page) for place, one in enumerate(ordered, 1)]
    drawable = sum(bool(one.curves.field) for one in ordered)
    return page.render(
        title="Drift in the field",
        lead=_lead(result),
        drift=result,
        names=_NAMES,
        tensors=rows,
        drawn=_MOST_DRAWN,
        undrawn=max(0, drawable - sum(bool(row.plot) for row in rows)),
        fleets=list(_fleets(result, page)),
    )


def _lead(result: DriftResult) -> str:
    counts = {word: sum(one.status == word for one in result.tensors) for word in _WORDS}
    said = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    lead = f"Of {len(result.tensors)} tensors: {said}."
    if not result.held:
        return f"{lead} No device could be held against an expectation."
    missed = len({one.device for one in result.missed})
    return f"{lead} Above what was expected: {missed} of {result.held} devices."


def _row(place: int, one: TensorDrift, result: DriftResult, page: Page) -> _Tensor:
    plot = plot_numbers(one.curves) if place <= _MOST_DRAWN else ""
    return _Tensor(
        tensor=one,
        place=place,
        name=one.tensor,
        whose=f"{one.side} of {one.component}",
        word=_WORDS[one.status],
        cells=[*(_cell(one, name) for name in result.limits), _middle(one.baseline), _middle(one.field)],
        rounding=f"{one.rounding:.3g}",
        plot=page.drawn(plot),
    )


def _cell(one: TensorDrift, metric: str) -> tuple[str, str]:
    if one.distances is None:
        return "", ""
    error = getattr(one.distances, f"{metric}_error", None)
    return f"{getattr(one.distances, metric):.3f}", "" if error is None else f"± {error:.3f}"


def _middle(quantiles: Sequence[float]) -> tuple[str, str]:
    """The median, and below it the ends."""
    if not quantiles:
        return "", ""
    low, middle, high = quantiles
    return f"{middle:.3g}", f"{low:.3g} to {high:.3g}"


def _fleets(result: DriftResult, page: Page) -> Iterator[_Fleet]:
    names = dict.fromkeys(one.name for one in result.figures)
    for name in names:
        figures = [one for one in result.figures if one.name == name]
        held = [one for one in figures if one.status != "unknown"]
        missed = [one for one in held if one.status == "missed"]
        factor = result.correction.get(name)
        first = figures[0]
        yield _Fleet(
            name=f"{first.quantity} of {first.component} {first.variant}".rstrip(),
            word="open" if not held else "bad" if missed else "good",
            verdict=f"{len(missed)} of {len(held)} above the limit" if held else "nothing was expected",
            says=_spread(figures) if factor is None else f"{factor:.3g} times the expected (devices' median)",
            basis=held[0].basis if held else "",
            plot=page.drawn(plot_fleet(held)),
            missed=[_missed(one) for one in missed[:_MOST_MISSED]],
            left_out=max(0, len(missed) - _MOST_MISSED),
        )


def _missed(one: DeviceFigure) -> tuple[str, ...]:
    figures = (quantity(value or 0.0, one.unit) for value in (one.median, one.expected, one.limit))
    return (one.device, *figures, f"{one.ratio or 0.0:.2f}", str(one.inferences))


def _spread(figures: Sequence[DeviceFigure]) -> str:
    medians = sorted(one.median for one in figures)
    places = (0, len(medians) // 2, -1)
    ends = [quantity(medians[place], figures[0].unit) for place in places]
    return f"devices' medians: least {ends[0]}, middle {ends[1]}, most {ends[2]}"
