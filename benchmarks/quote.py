"""Puts a benchmark's table into a page of docs/, between two marks, so that nobody copies figures by hand."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def quote_table(page: Path, name: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Replace what stands between the marks of `name` on the page; ValueError where it has none."""
    begin, end = (
        f"<!-- {name}: written by python -m benchmarks.{name} --write -->\n",
        f"<!-- {name}: end -->\n",
    )
    text = page.read_text(encoding="utf-8")
    if begin not in text or end not in text:
        raise ValueError(f"{page} lacks the marks of {name}: {begin.strip()} and {end.strip()}")
    lines = [_line(header), "|" + "---|" * len(header), *map(_line, rows)]
    before, after = text[: text.index(begin)], text[text.index(end) :]
    page.write_text(before + begin + "".join(f"{line}\n" for line in lines) + after, encoding="utf-8")


def _line(cells: Sequence[object]) -> str:
    return "| " + " | ".join(str(cell) for cell in cells) + " |"
