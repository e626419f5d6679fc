"""Devices that take longer or more energy than the bundle's profile or prediction says."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._foretold import foretell_known
from edgekit._profile import find_measurement, find_profiles

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from edgekit._bundle import Bundle
    from edgekit._field.fleet import Fleet, Watched
    from edgekit._values import Measurement

Quantity = Literal["latency", "energy"]
# What a profile calls the figure that a median is held against; ms and mJ.
_NAMES: Mapping[Quantity, str] = {"latency": "latency/p50", "energy": "energy/inference"}


@dataclass(frozen=True)
class LateDevice:
    """A device whose median is above what was expected of it.

    median, expected, limit: ms or mJ, as `unit` says. basis: of what was expected.
    """

    device: str
    component: str
    variant: str
    quantity: Quantity
    median: float
    expected: float
    limit: float
    unit: str
    basis: str
    inferences: int


@dataclass(frozen=True)
class Compared:
    """How many devices had an expectation to be held against, and those that missed it, worst first."""

    devices: int
    late: tuple[LateDevice, ...]
    correction: Mapping[str, float]


def compare_devices(fleet: Fleet, bundle: Bundle, place: Path, tolerance: float) -> Compared:
    """Each device of a fleet against the newest profile beside the bundle at `place`, else a prediction.

    tolerance: the share above a profile's figure that is let pass; a prediction has its interval.
    correction: by `<component>/<variant>/<quantity>`, the median over devices of measured by expected.
    """
    known = _Expectations(bundle, place)
    held: set[tuple[str, str, str]] = set()
    late: list[LateDevice] = []
    ratios: dict[str, list[float]] = {}
    for whose, watched in fleet.devices.items():
        for quantity, median in _medians(watched):
            expected = known.find(whose[0], whose[1], quantity)
            if expected is None or not expected.value:
                continue
            held.add(whose)
            ratios.setdefault(f"{whose[0]}/{whose[1] or 'any'}/{quantity}", []).append(
                median / expected.value
            )
            high = expected.interval[1] if expected.kind == "predicted" and expected.interval else None
            limit = expected.value * (1 + tolerance) if high is None else high
            if median > limit:
                figures = (median, expected.value, limit, expected.unit)
                basis = f"{expected.kind}: {expected.basis}"
                late.append(
                    LateDevice(whose[2], whose[0], whose[1], quantity, *figures, basis, watched.inferences)
                )
    late.sort(key=lambda one: one.expected / one.median)
    return Compared(
        len(held), tuple(late), {name: sorted(all_)[len(all_) // 2] for name, all_ in ratios.items()}
    )


def _medians(watched: Watched) -> Iterator[tuple[Quantity, float]]:
    """In ms and mJ."""
    if watched.latency_s.count:
        yield "latency", 1e3 * watched.latency_s.quantile(0.5)
    if watched.energy_j.count:
        yield "energy", 1e3 * watched.energy_j.quantile(0.5)


class _Expectations:
    """What is expected of an artifact, looked up once for each."""

    def __init__(self, bundle: Bundle, place: Path) -> None:
        fitting = [one for one in find_profiles(place, bundle.digest) if one.matches is True]
        self._profile = fitting[-1] if fitting else None
        self._foretold = foretell_known(bundle)
        first = bundle.artifacts[0]
        self._first = (first.component, str(first.variant))

    def find(self, component: str, variant: str, quantity: Quantity) -> Measurement | None:
        for artifact in self._profile.artifacts if self._profile is not None else ():
            if artifact.component == component and variant in ("", artifact.variant):
                row = find_measurement(artifact, _NAMES[quantity])
                if row is not None and row.value is not None:
                    return row
        if component != self._first[0] or variant not in ("", self._first[1]):
            return None
        return next((row for row in self._foretold if row.metric == quantity), None)
