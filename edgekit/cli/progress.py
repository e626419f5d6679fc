"""Progress on stderr: bars on a terminal, one plain line a stage elsewhere, nothing when asked for JSON."""

from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal

import click

from edgekit.reports.terminal import clean

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import TaskID

    from edgekit._values import Progress

Voice = Literal["auto", "silent"]


@contextmanager
def show_progress(voice: Voice = "auto") -> Iterator[Progress]:
    """A Progress to hand to the API; bars vanish when the work ends."""
    if voice == "silent":
        yield _silent
    elif sys.stderr.isatty():
        with _bars() as progress:
            yield progress
    else:
        yield _plain_lines()


def _silent(stage: str, done: int, total: int | None) -> None:
    """Say nothing."""


def _plain_lines() -> Progress:
    seen: set[str] = set()

    def tell(stage: str, done: int, total: int | None) -> None:  # noqa: ARG001 - a log shows stages, no counts
        if stage not in seen:
            seen.add(stage)
            click.echo(clean(stage) if total == 0 else f"{clean(stage)} ...", err=True)

    return tell


@contextmanager
def _bars() -> Iterator[Progress]:
    from rich.console import Console
    from rich.markup import escape
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeElapsedColumn
    from rich.progress import Progress as Bars

    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
    with Bars(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def tell(stage: str, done: int, total: int | None) -> None:
            if total == 0:
                bars.console.print(clean(stage), markup=False, highlight=False, soft_wrap=True)
                return
            if stage not in tasks:
                tasks[stage] = bars.add_task(escape(clean(stage)), total=total)
            bars.update(tasks[stage], completed=done, total=total)

        yield tell
