"""Aligned plain-text tables and safe names for a terminal; no library, so that commands start at once."""

from __future__ import annotations

import unicodedata
from typing import TYPE_CHECKING, Literal

from edgekit._budget import format_quantity

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._results import Measurement

LONGEST = 2000  # characters of one line that a terminal shows: a name may be a megabyte


def clean(text: str) -> str:
    """`text` on one line with everything that is no visible character written as an escape.

    A model, bundle or device chooses its names: control characters, escape sequences, line breaks,
    zero-width and right-to-left marks must not reach the terminal.
    """
    shown = "".join(
        letter if letter.isprintable() else letter.encode("unicode_escape").decode("ascii") for letter in text
    )
    return shown if len(shown) <= LONGEST else shown[:LONGEST] + "…"


def table(headers: Sequence[str], rows: Sequence[Sequence[str]], *, right: Sequence[int] = ()) -> str:
    """An aligned table; columns whose index is in `right` are set flush right. Cells are cleaned."""
    cells = [[clean(cell) for cell in row] for row in (headers, *rows)]
    widths = [max(_width(row[index]) for row in cells) for index in range(len(headers))]
    lines = [
        "  ".join(
            _pad(cell, widths[index], "right" if index in right else "left") for index, cell in enumerate(row)
        ).rstrip()
        for row in cells
    ]
    rule = "  ".join("-" * width for width in widths)
    return "\n".join([lines[0], rule, *lines[1:]])


def shorten(text: str, length: int) -> str:
    """A long name with its middle left out, at most `length` characters."""
    shown = clean(text)
    if len(shown) <= length:
        return shown
    half = (length - 1) // 2
    return f"{shown[: length - 1 - half]}…{shown[-half:]}"


def count(value: int | None) -> str:
    """A big count for people: 1234567 is `1.23 M`; None is `unknown`."""
    if value is None:
        return "unknown"
    for name, factor in (("G", 10**9), ("M", 10**6), ("K", 10**3)):
        if value >= factor:
            return f"{value / factor:.2f} {name}"
    return str(value)


def size(value: int | None) -> str:
    """Bytes for people, in powers of 1000: 4712345 is `4.71 MB`; None is `unknown`."""
    return "unknown" if value is None else f"{count(value)}B" if value >= 1000 else f"{value} B"


def quantity(value: float, unit: str) -> str:
    """A measured value for people: bytes as `size`, anything else with four digits."""
    return size(int(value)) if unit == "B" else format_quantity(float(f"{value:.4g}"), unit)


def with_interval(row: Measurement) -> str:
    """A figure for people: `4ms [3ms..5ms]`, the interval where it has one, or `unknown`."""
    if row.value is None:
        return "unknown"
    said = quantity(row.value, row.unit)
    if row.interval is None:
        return said
    low, high = (quantity(end, row.unit) for end in row.interval)
    return f"{said} [{low}..{high}]"


def _width(text: str) -> int:
    return sum(
        0 if unicodedata.combining(letter) else 2 if unicodedata.east_asian_width(letter) in "WF" else 1
        for letter in text
    )


def _pad(text: str, width: int, side: Literal["left", "right"]) -> str:
    room = " " * (width - _width(text))
    return text + room if side == "left" else room + text
