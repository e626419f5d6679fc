"""Tables and figures as docs/prediction.md writes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from scripts.fit.score import Score


def write_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def percent(value: float | None) -> str:
    """A share as 12.3 %; nothing for None."""
    return "" if value is None else f"{100 * value:.1f} %"


def score_words(made: Score) -> list[str]:
    """A score under the heads in COLUMNS."""
    width = "" if made.width is None else f"{made.width:.2f}x"
    return [
        str(made.points), percent(made.error), percent(made.within_10), percent(made.within_30),
        percent(made.coverage), width,
    ]  # fmt: skip


COLUMNS = ("points", "median error", "within 10 %", "within 30 %", "interval covers", "interval width")
