"""What a sweep is asked for and what came of it: one job a model and target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

Status = Literal["passed", "below gate", "refused", "died"]


@dataclass(frozen=True)
class SweepJob:
    """One convert of a sweep, as text that another process understands.

    recipe: TOML with absolute paths. overwrite, cache: what only a person decides, never a file.
    """

    name: str
    target: str
    recipe: str
    output: Path
    cache: str | None
    overwrite: bool
    trusted: bool


@dataclass(frozen=True)
class SweepRow:
    """What came of one job.

    status: `refused` is an error that edgekit tells (`error`), `died` a process that ended without a word,
    each time it was tried. digest: of the bundle, the same wherever the job ran. size: bytes of what the
    device loads. variants: what the bundle holds, the one asked for first.
    """

    name: str
    target: str
    status: Status
    error: str = ""
    device: str = ""
    folder: str = ""
    digest: str = ""
    variants: tuple[str, ...] = ()
    size: int | None = None
    sqnr_db: float | None = None
    tries: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class SweepResult:
    """All rows of a sweep in the recipe's order, and where they were run."""

    rows: tuple[SweepRow, ...]
    ran_on: str

    @property
    def passed(self) -> bool:
        return all(row.status == "passed" for row in self.rows)
