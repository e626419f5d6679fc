"""Reads what a USB or bench power meter logged: time and watts, or volts and amperes."""

from __future__ import annotations

import csv
import math
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_MOST_BYTES = 256 << 20
# What a column means -> headings that say so, without case and unit.
_HEADINGS = {
    "time": ("time", "timestamp"),
    "W": ("w", "watt", "watts", "power"),
    "V": ("v", "volt", "volts", "voltage"),
    "A": ("a", "amp", "ampere", "amperes", "current"),
}
_FORM = "give a CSV with the headings time (seconds since 1970, or ISO 8601) and W, or V and A"


def read_power_csv(path: Path) -> list[tuple[float, float]]:
    """(seconds since 1970, W) of each row, in order of time. UsageError names the row and the rule."""
    try:
        if path.stat().st_size > _MOST_BYTES:
            raise UsageError(f"power log '{path}' is larger than {_MOST_BYTES >> 20} MiB", fix="cut it")
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = _columns(reader.fieldnames or [], path)
            rows = [_row(row, columns, f"power log '{path}', line {reader.line_num}") for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UsageError(f"power log '{path}' cannot be read ({error})", fix=_FORM) from error
    return sorted(rows)


def _columns(names: Sequence[str], path: Path) -> dict[str, str]:
    """What a column means -> its heading in the file."""
    known = {name.strip().lower().partition(" ")[0].partition("(")[0]: name for name in names}
    found = {kind: known[word] for kind, words in _HEADINGS.items() for word in words if word in known}
    if "time" not in found or not ("W" in found or {"V", "A"} <= set(found)):
        raise UsageError(f"power log '{path}' has the headings {', '.join(names) or 'none'}", fix=_FORM)
    return found


def _row(row: Mapping[str, str], columns: Mapping[str, str], where: str) -> tuple[float, float]:
    try:
        at = _time(row[columns["time"]])
        watt = (
            float(row[columns["W"]])
            if "W" in columns
            else float(row[columns["V"]]) * float(row[columns["A"]])
        )
    except (ValueError, TypeError) as error:
        raise UsageError(f"{where}: {error}", fix=_FORM) from error
    if not (math.isfinite(at) and math.isfinite(watt)):
        raise UsageError(f"{where}: a number is not finite", fix=_FORM)
    return at, watt


def _time(text: str) -> float:
    """Seconds since 1970; a date without a zone is UTC."""
    try:
        return float(text)
    except ValueError:
        moment = datetime.fromisoformat(text.strip())
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()
