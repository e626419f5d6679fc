"""The report's tables of layers: the slowest of each artifact, with their time and what INT8 loses there."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._layer_table import join_layers

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._layer_table import ErrorRow, LayerRow
    from edgekit._profile import ArtifactProfile

_SHOWN = 20


@dataclass(frozen=True)
class LayerSection:
    """One artifact's layers: the slowest, each with its share of the time and what INT8 loses there."""

    name: str
    rows: list[tuple[str, str, str, float, str, str]]
    timed: bool
    lossy: bool
    left_out: int


def layer_sections(
    artifacts: Sequence[ArtifactProfile], errors: Sequence[ErrorRow]
) -> Iterator[LayerSection]:
    """Timed layers of each artifact, INT8's with their errors; the errors alone where nothing was timed."""
    for one in artifacts:
        mine = errors if one.variant == "int8" else ()
        if one.layers or mine:
            yield _layers(f"{one.component} {one.variant}", join_layers(one.layers, mine))
    if errors and not any(one.variant == "int8" for one in artifacts):
        yield _layers("int8", join_layers((), errors))


def _layers(name: str, rows: Sequence[LayerRow]) -> LayerSection:
    total = sum(row.us or 0.0 for row in rows) or 1.0
    timed = [row for row in rows if row.us is not None][:_SHOWN]
    rest = [row for row in rows if row.us is None][: max(0, _SHOWN - len(timed))]
    return LayerSection(
        name,
        [
            (
                row.name,
                row.op,
                "" if row.us is None else f"{row.us:.1f}",
                100 * (row.us or 0.0) / total,
                "" if row.error is None else _decibel(row.error.own_db),
                "" if row.error is None else _decibel(row.error.accumulated_db),
            )
            for row in (*timed, *rest)
        ],
        timed=bool(timed),
        lossy=any(row.error is not None for row in rows),
        left_out=len(rows) - len(timed) - len(rest),
    )


def _decibel(value: float) -> str:
    return "equal" if math.isinf(value) else "unknown" if math.isnan(value) else f"{value:.1f}"
