"""What held-out errors say: median error, shares within 10 and 30 %, coverage and width of the band."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from scripts.fit.family import band

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.fit.family import CellFit, Graph


@dataclass(frozen=True)
class Score:
    """Of `points` held-out predictions. coverage and width are None where no band was asked for."""

    points: int
    error: float
    within_10: float
    within_30: float
    coverage: float | None = None
    width: float | None = None


def score(errors: Sequence[float]) -> Score:
    """Errors are logs of predicted over measured."""
    sizes = [abs(math.exp(error) - 1) for error in errors]
    count = len(sizes)
    return Score(
        count,
        median(sizes),
        sum(size <= 0.1 for size in sizes) / count,
        sum(size <= 0.3 for size in sizes) / count,
    )


def score_cells(cells: Sequence[CellFit]) -> Score:
    """Errors of all cells together; each model's band is made from the other models of its cell."""
    errors, inside, widths = [], 0, []
    for cell in cells:
        groups: dict[str, list[float]] = defaultdict(list)
        for (model, _), error in cell.held.items():
            groups[model].append(error)
        for model, own in groups.items():
            low, high = band([error for name, rows in groups.items() if name != model for error in rows])
            inside += sum(low <= math.exp(-error) <= high for error in own)
            widths += [high / low] * len(own)
            errors += own
    made = score(errors)
    return Score(
        made.points, made.error, made.within_10, made.within_30, inside / len(errors), median(widths)
    )


def baseline(
    cells: Sequence[CellFit],
    graphs: Mapping[Graph, Mapping[str, float]],
    known: Mapping[tuple[str, str, str], Mapping[Graph, float]],
    kind: str,
) -> Score:
    """`macs`: a time a MAC; `roofline`: MACs or bytes at 300 MACs a byte; each scaled by its median."""
    errors = []
    for cell in cells:
        times = known[cell.device, cell.runtime, cell.precision]
        rest = {
            graph: math.log(times[graph] / _simple(graphs[graph], cell.precision, kind))
            for graph in cell.held
        }
        for model in {graph[0] for graph in rest}:
            middle = median(value for graph, value in rest.items() if graph[0] != model)
            errors += [middle - value for graph, value in rest.items() if graph[0] == model]
    return score(errors)


def _simple(terms: Mapping[str, float], precision: str, kind: str) -> float:
    macs = sum(terms[name] for name in ("dense", "depthwise", "grouped", "attention"))
    if kind == "macs":
        return macs + 1e-6
    size = 1.0 if precision == "int8" else 2.0
    moved = terms["weights"] + terms["vector_weights"] + 2 * (terms["moved_shallow"] + terms["moved_deep"])
    return max(macs, 0.3 * size * moved) + 1e-6
