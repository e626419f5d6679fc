"""`--baseline OLD.json --fail-if "p90_latency > +10%"`: what got worse since an earlier report."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from edgekit._budget import AT_LEAST, METRICS
from edgekit._strict_json import read_json
from edgekit.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._feasibility import DeviceReport

_RULE = re.compile(r"\s*([a-z0-9_]+)\s*(>\s*\+|<\s*-)\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*")
_MOST_BYTES = 256 << 20
_EXAMPLE = 'write it as --fail-if "p90_latency > +10%"'
_SCHEMA = "edgekit.report"


@dataclass(frozen=True)
class Rule:
    """A metric that may get worse by at most `percent` of what it was: grow, or fall where more is better."""

    metric: str
    percent: float

    def __str__(self) -> str:
        return f"{self.metric} {'< -' if self.metric in AT_LEAST else '> +'}{self.percent:g}%"

    def broken(self, before: float, value: float) -> bool:
        """Whether the metric got worse by more."""
        if self.metric in AT_LEAST:
            return value < before * (1 - self.percent / 100)
        return value > before * (1 + self.percent / 100)


def parse_rule(text: str) -> Rule:
    """UsageError for anything but `METRIC > +N%`, or `METRIC < -N%` where more is better."""
    match = _RULE.fullmatch(text)
    if match is None:
        raise UsageError(f"'{text}' is no rule", fix=_EXAMPLE)
    if match[1] not in METRICS:
        near = get_close_matches(match[1], METRICS, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(f"unknown metric '{match[1]}' in a rule", fix=f"{hint}known: {', '.join(METRICS)}")
    if match[2].startswith("<") != (match[1] in AT_LEAST):
        better, sign = ("more", "< -") if match[1] in AT_LEAST else ("less", "> +")
        raise UsageError(
            f"'{text}': {better} {match[1]} is better", fix=f"write {match[1]} {sign}{match[3]}%"
        )
    return Rule(match[1], float(match[3]))


def load_baseline(path: Path) -> dict[tuple[str, str, str], float]:
    """(target, device, metric) -> value of an earlier report.json; BundleError where it is none."""
    try:
        data = read_json(path, _MOST_BYTES)
        if data["schema"] != _SCHEMA or data["version"] != 1:
            raise KeyError("schema")
        return {
            (device["target"], device["device"], row["metric"]): float(row["value"])
            for device in data["devices"]
            for row in device["figures"]
            if row["kind"] == "measured" and math.isfinite(float(row["value"]))
        }
    except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
        raise BundleError(
            f"baseline '{path}' is no report.json of edgekit ({type(error).__name__}: {error})",
            fix="give the report.json that an earlier `edgekit report` wrote",
        ) from error


def find_regressions(
    devices: Sequence[DeviceReport], baseline: dict[tuple[str, str, str], float], rules: Sequence[Rule]
) -> tuple[str, ...]:
    """One line a figure that grew past its rule; a figure that is gone counts as worse."""
    lines = []
    for device in devices:
        now = {row.metric: row.value for row in device.figures if row.kind == "measured"}
        for rule in rules:
            before = baseline.get((device.target, device.device, rule.metric))
            if before is None:
                continue
            value = now.get(rule.metric)
            if value is None:
                lines.append(f"{device.device}: {rule.metric} was {before:.4g} and is not measured any more")
            elif rule.broken(before, value):
                change = f"+{100 * (value / before - 1):.1f} %" if before else "from zero"
                lines.append(f"{device.device}: {rule.metric} {before:.4g} -> {value:.4g} ({change}; {rule})")
    return tuple(lines)
