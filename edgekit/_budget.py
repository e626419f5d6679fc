"""Budgets: `latency=50ms,power=15W` becomes limits, and limits with measurements become verdicts."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from edgekit._results import Measurement, Verdict
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

# Unit as typed -> (factor, unit in which limits and measurements are kept).
UNITS = {
    "ns": (1e-6, "ms"),
    "us": (1e-3, "ms"),
    "ms": (1.0, "ms"),
    "s": (1e3, "ms"),
    "mW": (1e-3, "W"),
    "W": (1.0, "W"),
    "uJ": (1e-3, "mJ"),
    "mJ": (1.0, "mJ"),
    "J": (1e3, "mJ"),
    "B": (1.0, "B"),
    "KB": (1e3, "B"),
    "kB": (1e3, "B"),
    "MB": (1e6, "B"),
    "GB": (1e9, "B"),
    "KiB": (1024.0, "B"),
    "MiB": (1024.0**2, "B"),
    "GiB": (1024.0**3, "B"),
    "C": (1.0, "C"),
    "%": (1.0, "%"),
    "tokens/s": (1.0, "tokens/s"),
    "runs/s": (1.0, "runs/s"),
}
# Metrics of which more is better: their limit is the least, not the most.
AT_LEAST = frozenset({"throughput", "tokens_per_s", "sustained_tokens_per_s"})
# Metric -> the unit it is kept in. `latency` is the mean of one inference; `energy` all that the device takes
# meanwhile, `dynamic_energy` what it takes above idle.
METRICS = {
    "latency": "ms",
    "p50_latency": "ms",
    "p90_latency": "ms",
    "p95_latency": "ms",
    "p99_latency": "ms",
    "power": "W",
    "energy": "mJ",
    "dynamic_energy": "mJ",
    "memory": "B",
    "size": "B",
    "temperature": "C",
    "accuracy_loss": "%",
    "throughput": "runs/s",
    "sustained_latency": "ms",
    "time_to_first_token": "ms",
    "tokens_per_s": "tokens/s",
    "sustained_tokens_per_s": "tokens/s",
    "battery": "%",
}
_QUANTITY = re.compile(r"([0-9]+(?:\.[0-9]*)?(?:[eE][+-]?[0-9]+)?)\s*([A-Za-z]+(?:/s)?|%)")
_EXAMPLE = "write it as --budget latency=50ms,power=15W,memory=2GB,size=20MB"


@dataclass(frozen=True)
class Limit:
    """The most that a device may need of one metric (the least of AT_LEAST), in its own unit (ms, W, B)."""

    value: float
    unit: str

    def __str__(self) -> str:
        return format_quantity(self.value, self.unit)


def format_quantity(value: float, unit: str) -> str:
    """A quantity for people: `format_quantity(2e9, "B")` is `2GB`; read back by `parse_budget`."""
    steps = {"B": (("GB", 1e9), ("MB", 1e6), ("KB", 1e3))}.get(unit, ())
    for name, factor in steps:
        if value >= factor and value / factor == float(f"{value / factor:.6g}"):
            return f"{value / factor:.6g}{name}"
    return f"{value:.17g}{unit}" if value != float(f"{value:.6g}") else f"{value:.6g}{unit}"


def parse_budget(given: str | Mapping[str, object] | None) -> dict[str, Limit]:
    """Limits by metric, from `latency=50ms,power=15W` or a mapping of the same words.

    Raises UsageError for an unknown metric or unit, a unit of another kind, a metric given twice
    and a limit that is not positive.
    """
    if not given:
        return {}
    pairs = list(given.items()) if isinstance(given, Mapping) else [_pair(part) for part in given.split(",")]
    limits: dict[str, Limit] = {}
    for name, value in pairs:
        metric = name.strip().replace("-", "_")
        if metric not in METRICS:
            near = get_close_matches(metric, METRICS, n=1, cutoff=0.5)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(f"unknown budget '{name}'", fix=f"{hint}known: {', '.join(METRICS)}")
        if metric in limits:
            raise UsageError(f"budget '{metric}' is given twice", fix="keep one of the two")
        limits[metric] = value if isinstance(value, Limit) else _limit(metric, str(value))
    return limits


def _pair(part: str) -> tuple[str, str]:
    name, equals, value = part.partition("=")
    if not (name.strip() and equals and value.strip()):
        raise UsageError(f"budget '{part}' is not NAME=LIMIT", fix=_EXAMPLE)
    return name, value


def _limit(metric: str, text: str) -> Limit:
    wanted = METRICS[metric]
    known = ", ".join(unit for unit, (_, base) in UNITS.items() if base == wanted)
    match = _QUANTITY.fullmatch(text.strip())
    if match is None:
        raise UsageError(
            f"budget '{metric}={text}' is not a positive number with a unit",
            fix=f"units of {metric}: {known}",
        )
    factor, base = UNITS.get(match[2], (0.0, ""))
    if base != wanted:
        raise UsageError(
            f"budget '{metric}={text}': '{match[2]}' is no unit of {metric}", fix=f"use one of {known}"
        )
    value = float(match[1]) * factor
    if not (value > 0 and math.isfinite(value)):
        raise UsageError(f"budget '{metric}={text}' is not a positive, finite limit", fix=_EXAMPLE)
    return Limit(value, base)


def judge_budget(limits: Mapping[str, Limit], measurements: Sequence[Measurement]) -> tuple[Verdict, ...]:
    """One verdict a limit; `unknown` where no figure exists or a prediction's interval straddles the limit.

    A measured figure is taken before a predicted one. Measurements in another unit than the
    limit's raise ValueError.
    """
    return tuple(_judge(metric, limit, measurements) for metric, limit in limits.items())


def _judge(metric: str, limit: Limit, measurements: Sequence[Measurement]) -> Verdict:
    order = {"measured": 0, "predicted": 1}
    known = [item for item in measurements if item.metric == metric and item.value is not None]
    known = sorted((item for item in known if item.kind in order), key=lambda item: order[item.kind])
    if not known:
        nothing = Measurement(metric, None, limit.unit, "unknown", "nobody has a figure for this device yet")
        return Verdict(metric, limit.value, limit.unit, "unknown", nothing)
    figure = known[0]
    if figure.unit != limit.unit:
        raise ValueError(f"{metric} is measured in {figure.unit}, its limit is in {limit.unit}")
    value = figure.value if figure.value is not None else math.nan
    low, high = figure.interval if figure.interval else (value, value)
    if metric in AT_LEAST:
        low, high, bound = -high, -low, -limit.value
    else:
        bound = limit.value
    if high <= bound:
        return Verdict(metric, limit.value, limit.unit, "fits", figure)
    if low > bound:
        return Verdict(metric, limit.value, limit.unit, "does not fit", figure)
    return Verdict(metric, limit.value, limit.unit, "unknown", figure)
