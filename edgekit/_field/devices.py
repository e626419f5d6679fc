"""What each device of a fleet takes, held against the bundle's profile or prediction."""

from __future__ import annotations

import statistics
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from edgekit._budget import METRICS
from edgekit._foretold import foretell_known
from edgekit._profile import find_measurement, find_profiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._field.fleet import Fleet, Watched
    from edgekit._results import Measurement

Quantity = Literal["latency", "power", "energy"]
Status = Literal["kept", "missed", "unknown"]
# What a profile calls the figure that a median is held against, in ms, W and mJ. As a monitor's meter and a
# prediction do, it counts the idle device in.
_NAMES: Mapping[Quantity, str] = {
    "latency": "latency/p50",
    "power": "power/mean",
    "energy": "energy/total",
}


@dataclass(frozen=True)
class DeviceFigure:
    """The median of one quantity on one device, beside what was expected of it.

    median, expected, limit: in `unit`. expected, limit: None where nobody knows. basis: of what was expected.
    status: `missed` above the limit, `kept` up to it, else `unknown`.
    """

    device: str
    component: str
    variant: str
    quantity: Quantity
    median: float
    unit: str
    inferences: int
    expected: float | None = None
    limit: float | None = None
    basis: str = ""
    status: Status = "unknown"

    @property
    def name(self) -> str:
        """Which of the fleet's figures it is one of: `<component>/<variant>/<quantity>`."""
        return f"{self.component}/{self.variant or 'any'}/{self.quantity}"

    @property
    def ratio(self) -> float | None:
        """How many times the expected figure it is; None where nobody knows that."""
        return self.median / self.expected if self.expected else None


def compare_devices(fleet: Fleet, bundle: Bundle, place: Path, tolerance: float) -> tuple[DeviceFigure, ...]:
    """Each device of a fleet against the newest profile beside the bundle at `place`, else a prediction.

    The worst first, those without an expectation last. tolerance: the share above a profile's figure that is
    let pass; a prediction has its interval.
    """
    known = _Expectations(bundle, place)
    found = [
        _hold(figure, known.find(figure), tolerance)
        for whose, watched in fleet.devices.items()
        for figure in _medians(whose, watched)
    ]
    return tuple(sorted(found, key=lambda one: (one.ratio is None, -(one.ratio or 0.0))))


def find_corrections(figures: Sequence[DeviceFigure]) -> dict[str, float]:
    """By `<component>/<variant>/<quantity>`, the factor that the expected figure lacks: devices' median."""
    ratios: dict[str, list[float]] = {}
    for one in figures:
        if one.ratio is not None:
            ratios.setdefault(one.name, []).append(one.ratio)
    return {name: statistics.median(some) for name, some in ratios.items()}


def _hold(figure: DeviceFigure, expected: Measurement | None, tolerance: float) -> DeviceFigure:
    if expected is None or not expected.value:
        return figure
    high = expected.interval[1] if expected.kind == "predicted" and expected.interval else None
    limit = expected.value * (1 + tolerance) if high is None else high
    basis = f"{expected.kind}: {expected.basis}"
    status: Status = "missed" if figure.median > limit else "kept"
    return replace(figure, expected=expected.value, limit=limit, basis=basis, status=status)


def _medians(whose: tuple[str, str, str], watched: Watched) -> Iterator[DeviceFigure]:
    component, variant, device = whose
    found: dict[Quantity, float] = {}
    if watched.latency_s.count:
        found["latency"] = 1e3 * watched.latency_s.quantile(0.5)
    if watched.energy_j.count:
        found["energy"] = 1e3 * watched.energy_j.quantile(0.5)
    if "energy" in found and found.get("latency"):
        found["power"] = found["energy"] / found["latency"]
    for quantity, median in found.items():
        yield DeviceFigure(
            device, component, variant, quantity, median, METRICS[quantity], watched.inferences
        )


class _Expectations:
    """What is expected of an artifact, looked up once for each."""

    def __init__(self, bundle: Bundle, place: Path) -> None:
        fitting = [one for one in find_profiles(place, bundle.digest) if one.matches is True]
        self._profile = fitting[-1] if fitting else None
        self._foretold = foretell_known(bundle)
        first = bundle.artifacts[0]
        self._first = (first.component, str(first.variant))
        self._known: dict[str, Measurement | None] = {}

    def find(self, figure: DeviceFigure) -> Measurement | None:
        if figure.name not in self._known:
            self._known[figure.name] = self._look_up(figure)
        return self._known[figure.name]

    def _look_up(self, figure: DeviceFigure) -> Measurement | None:
        for artifact in self._profile.artifacts if self._profile is not None else ():
            if artifact.component == figure.component and figure.variant in ("", artifact.variant):
                row = find_measurement(artifact, _NAMES[figure.quantity])
                if row is not None and row.value is not None:
                    return row
        if figure.component != self._first[0] or figure.variant not in ("", self._first[1]):
            return None
        return next((row for row in self._foretold if row.metric == figure.quantity), None)
