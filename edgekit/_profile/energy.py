"""Power and energy from the sensors' samples: what each artifact took while it ran, in all and above idle."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._results import Measurement
from edgekit.profiles import probes

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from edgekit._profile.heard import Heard, Round

    Samples = Sequence[tuple[float, float]]

_LEAST_SAMPLES = 5
_Z80 = 1.2815515655446004  # a normal distribution holds 80 % within this many standard errors


@dataclass(frozen=True)
class Total:
    """The rails that together are what the device takes, and who says so."""

    name: str
    rails: tuple[str, ...]
    source: str


@cache
def load_totals() -> tuple[Total, ...]:
    """The known totals, the best first."""
    path = Path(probes.__file__).with_name("power_totals.toml")
    rows = tomllib.loads(path.read_text(encoding="utf-8"))["total"]
    return tuple(Total(row["name"], tuple(row["rails"]), row["source"]) for row in rows)


def measure_energy(place: str, index: int, heard: Heard) -> list[Measurement]:
    """Mean power, and total and dynamic energy an inference, of one artifact; [] without a meter.

    Each has an 80 % interval from the spread of the samples.
    """
    found = find_total(heard)
    rounds = [one for one in heard.workers[index].rounds if one.count and not (one.soak or one.earlier)]
    if found is None or not rounds:
        return []
    total, samples = found
    busy = [watt for at, watt in samples if any(one.start <= at <= one.end for one in rounds)]
    if len(busy) < _LEAST_SAMPLES:
        basis = f"{total.name}: {len(busy)} samples while it ran are too few; measure longer (--duration)"
        return [Measurement(f"{place}/power/mean", None, "W", "unknown", basis)]
    mean, error = _mean_and_error(busy)
    basis = f"{total.name} over {len(busy)} samples ({total.source})"
    power = Measurement(f"{place}/power/mean", mean, "W", "measured", basis, _interval(mean, error))
    return [power, *_energies(place, rounds, (mean, error), _idle(heard, samples), basis=basis)]


def find_total(heard: Heard) -> tuple[Total, list[tuple[float, float]]] | None:
    """The first total whose rails the device gives, with (time in s, W) samples of their sum."""
    given = {name.removesuffix("_W") for name in heard.meters}
    for total in load_totals():
        if set(total.rails) <= given:
            return total, list(_sums(total.rails, heard.samples))
    return None


def _sums(
    rails: Iterable[str], samples: Iterable[tuple[float, dict[str, float]]]
) -> Iterable[tuple[float, float]]:
    names = [f"{rail}_W" for rail in rails]
    for at, values in samples:
        if all(name in values for name in names):
            yield at, sum(values[name] for name in names)


def _idle(heard: Heard, samples: Samples) -> tuple[float, float] | None:
    """Mean power and its error while nothing ran; None where there are too few samples."""
    if heard.idle is None:
        return None
    start, end = heard.idle
    quiet = [watt for at, watt in samples if start <= at <= end]
    return _mean_and_error(quiet) if len(quiet) >= _LEAST_SAMPLES else None


def _energies(
    place: str,
    rounds: Sequence[Round],
    busy: tuple[float, float],
    idle: tuple[float, float] | None,
    *,
    basis: str,
) -> list[Measurement]:
    """mJ an inference: `total` is all the device took meanwhile, `dynamic` what it took above idle."""
    seconds = sum(one.end - one.start for one in rounds) / sum(one.count for one in rounds)
    total = _energy(f"{place}/energy/total", busy, seconds, f"{basis}; idle included")
    if idle is None:
        return [total]
    above = busy[0] - idle[0], math.hypot(busy[1], idle[1])
    told = f"{basis}; idle of {idle[0]:.3g} W taken off"
    return [total, _energy(f"{place}/energy/dynamic", above, seconds, told)]


def _energy(metric: str, watts: tuple[float, float], seconds: float, basis: str) -> Measurement:
    """Of mean power and its error over the time of one inference."""
    value, error = 1e3 * watts[0] * seconds, 1e3 * watts[1] * seconds
    return Measurement(metric, value, "mJ", "measured", basis, _interval(value, error))


def _mean_and_error(values: Sequence[float]) -> tuple[float, float]:
    """Mean, and its standard error for samples that follow each other independently."""
    mean = sum(values) / len(values)
    variance = sum((value - mean) ** 2 for value in values) / (len(values) - 1)
    return mean, math.sqrt(variance / len(values))


def _interval(value: float, error: float) -> tuple[float, float]:
    return value - _Z80 * error, value + _Z80 * error
