"""How a latency carries over between two NPUs: a constant times the ratio of the two devices' own fits."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import permutations
from statistics import median
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from scripts.fit.family import CellFit, Graph

LEAST_POINTS = 20


@dataclass(frozen=True)
class Pair:
    """One direction of two devices in one precision; errors are logs of predicted over measured, held out.

    constant: the same errors of a single scale, without the fits.
    """

    source: str
    target: str
    precision: str
    scale: float
    errors: tuple[float, ...]
    constant: tuple[float, ...]


def fit_pairs(cells: Sequence[CellFit], known: dict[tuple[str, str, str], dict[Graph, float]]) -> list[Pair]:
    """Every pair with enough models under any runtime both were measured with."""
    by_key = {(cell.device, cell.runtime, cell.precision): cell for cell in cells}
    names = sorted({cell.device for cell in cells})
    made = []
    for source, target in permutations(names, 2):
        for precision in ("fp16", "int8"):
            found = _pair(source, target, precision, by_key, known)
            if found is not None:
                made.append(found)
    return made


def _pair(
    source: str,
    target: str,
    precision: str,
    cells: dict[tuple[str, str, str], CellFit],
    known: dict[tuple[str, str, str], dict[Graph, float]],
) -> Pair | None:
    rest: list[tuple[str, float]] = []  # model, log of measured ratio over the ratio of held-out fits
    plain: list[tuple[str, float]] = []
    for runtime in ("litert", "qnn", "onnxruntime"):
        here, there = (cells.get((name, runtime, precision)) for name in (target, source))
        if here is None or there is None:
            continue
        mine, theirs = known[target, runtime, precision], known[source, runtime, precision]
        for graph in sorted(here.held.keys() & there.held.keys()):
            plain.append((graph[0], math.log(mine[graph] / theirs[graph])))
            rest.append((graph[0], there.held[graph] - here.held[graph]))
    if len({model for model, _ in rest}) < LEAST_POINTS:
        return None
    scale = math.exp(median(value for _, value in rest))
    return Pair(source, target, precision, scale, _hold_out(rest), _hold_out(plain))


def _hold_out(rows: list[tuple[str, float]]) -> tuple[float, ...]:
    """Log of predicted over measured when the scale is the median of all other models."""
    errors = []
    for model in sorted({name for name, _ in rows}):
        middle = median(value for name, value in rows if name != model)
        errors += [middle - value for name, value in rows if name == model]
    return tuple(errors)
