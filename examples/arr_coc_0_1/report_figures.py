"""How a predicted figure stands on a page: value, interval, and whether it keeps a goal."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit._estimate import DeviceEstimate
    from edgekit._results import Measurement


def measure(device: DeviceEstimate, metric: str) -> Measurement | None:
    """The figure of that metric, if the device has one."""
    return next((figure for figure in device.figures if figure.metric == metric), None)


def show_figure(device: DeviceEstimate, metric: str) -> str:
    """That figure in a cell; empty where there is none."""
    found = measure(device, metric)
    return "" if found is None else show(found)


def show_step(device: DeviceEstimate, component: str) -> str:
    """One run of a component in a cell; empty where the request has none."""
    found = next((step.latency for step in device.steps if step.component == component), None)
    return "" if found is None else show(found)


def show_pair(device: DeviceEstimate, other: DeviceEstimate, metric: str) -> list[str]:
    """One figure of two requests, without intervals."""
    values = [measure(one, metric) for one in (device, other)]
    return ["unknown" if one is None or one.value is None else short(one.value, one.unit) for one in values]


def show_drain(device: DeviceEstimate) -> str:
    """Percent of a full battery, were request to follow on request for an hour."""
    battery, latency = measure(device, "battery"), measure(device, "latency")
    if battery is None or battery.value is None or latency is None or not latency.value:
        return ""
    return f"{battery.value * 3.6e6 / latency.value:.0f} %"


def show(figure: Measurement) -> str:
    """Value and 80 % interval, or `unknown`."""
    if figure.value is None:
        return "unknown"
    if figure.interval is None:
        return short(figure.value, figure.unit)
    low, high = figure.interval
    return f"{short(figure.value, figure.unit)} [{short(low, figure.unit)}..{short(high, figure.unit)}]"


def short(value: float, unit: str) -> str:
    """A number of three digits with its unit."""
    scale = {"B": (1e9, "GB"), "mJ": (1e3, "J")}.get(unit, (1.0, unit))
    number = value / scale[0]
    digits = f"{number:.3g}" if number < 1000 else f"{number:.0f}"
    return f"{digits} {scale[1]}"


def below(figure: Measurement | None, limit: float) -> str:
    """Whether a figure stays below a limit: yes, likely, unlikely, no or unknown.

    A figure whose interval begins at 0 is an upper limit and no expectation: above the goal it says nothing.
    """
    return _verdict(figure, lambda value: value < limit)


def above(figure: Measurement | None, limit: float) -> str:
    """Whether a figure reaches a limit, in the same words."""
    return _verdict(figure, lambda value: value >= limit)


def _verdict(figure: Measurement | None, holds: Callable[[float], bool]) -> str:
    if figure is None or figure.value is None or figure.interval is None:
        return "unknown"
    if not holds(figure.value) and figure.interval[0] == 0:
        return "unknown"
    ends = [holds(end) for end in figure.interval]
    if holds(figure.value):
        return "yes" if all(ends) else "likely"
    return "unlikely" if any(ends) else "no"


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Lines of a Markdown table."""
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]
