"""Where misses come from: what is left if more were known, what repeats differ by, and whose they are."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from itertools import combinations
from statistics import median
from typing import TYPE_CHECKING

from edgekit._work_terms import TERMS
from scripts.fit.tables import DEVICES

if TYPE_CHECKING:
    from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence

    from scripts.fit.family import CellFit, Graph
    from scripts.fit.tables import Row

LEAST_SHARED = 12  # graphs that two runtimes must share before a constant between them means anything
ALIKE = 0.02  # graphs of which no term differs by more


@dataclass(frozen=True)
class Point:
    """One held-out prediction; error: log of predicted over measured."""

    device: str
    runtime: str
    precision: str
    graph: Graph
    error: float

    @property
    def far(self) -> bool:
        """Whether it is off by more than 30 %, as the numbers count it."""
        return abs(math.exp(self.error) - 1) > 0.3


def list_points(cells: Iterable[CellFit]) -> list[Point]:
    """Every held-out prediction."""
    return [
        Point(cell.device, cell.runtime, cell.precision, graph, error)
        for cell in cells
        for graph, error in cell.held.items()
    ]


def without_common(points: Sequence[Point], key: Callable[[Point], Hashable]) -> list[float]:
    """Errors less the median error of all points of the same key: as if that were known beforehand."""
    groups: dict[Hashable, list[float]] = defaultdict(list)
    for point in points:
        groups[key(point)].append(point.error)
    middle = {name: median(errors) for name, errors in groups.items()}
    return [point.error - middle[key(point)] for point in points]


def same_file(rows: Sequence[Row]) -> list[float]:
    """Logs of two latencies of one network compiled by one compiler for one device, in two front ends."""
    found: dict[tuple[str, ...], dict[str, float]] = defaultdict(dict)
    for row in rows:
        if row["latency_us"] and row["device"] in DEVICES:
            place = (row["model"], row["component"], row["precision"], row["device"])
            found[place][row["runtime"]] = float(row["latency_us"])
    names = ("qnn_context_binary", "precompiled_qnn_onnx")
    return [
        math.log(times[names[0]] / times[names[1]])
        for times in found.values()
        if all(name in times for name in names)
    ]


def alike_graphs(
    graphs: Mapping[Graph, Mapping[str, float]], known: Mapping[tuple[str, str, str], Mapping[Graph, float]]
) -> tuple[list[tuple[Graph, Graph]], list[float]]:
    """Pairs of graphs of two models that no count tells apart, and logs of their latencies in one cell."""
    pairs = [
        (one, other)
        for one, other in combinations(sorted(graphs), 2)
        if one[0] != other[0] and all(_near(graphs[one][term], graphs[other][term]) for term in TERMS)
    ]
    ratios = [
        math.log(rows[one] / rows[other])
        for one, other in pairs
        for rows in known.values()
        if one in rows and other in rows
    ]
    return pairs, ratios


def _near(one: float, other: float) -> bool:
    return abs(one - other) <= ALIKE * max(one, other)


def other_runtime(
    graphs: Mapping[Graph, object],
    known: Mapping[tuple[str, str, str], Mapping[Graph, float]],
    runtimes: tuple[str, str],
    precision: str,
) -> list[float]:
    """Logs of latencies of one graph on one device under two runtimes, less the device's median of them."""
    first, second = runtimes
    found = []
    for (device, runtime, form), rows in known.items():
        if (runtime, form) != (first, precision):
            continue
        others = known.get((device, second, precision), {})
        shared = rows.keys() & others.keys() & graphs.keys()
        ratios = [math.log(rows[graph] / others[graph]) for graph in sorted(shared)]
        if len(ratios) >= LEAST_SHARED:
            middle = median(ratios)
            found += [ratio - middle for ratio in ratios]
    return found


def kind_of_network(terms: Mapping[str, float]) -> str:
    """Which products beside dense ones a graph has."""
    if terms["attention"] > 0:
        return "with attention"
    if terms["depthwise"] > 0:
        return "with depthwise convolutions"
    return "with grouped convolutions" if terms["grouped"] > 0 else "dense convolutions and products alone"


def group_by(points: Sequence[Point], key: Callable[[Point], str]) -> dict[str, list[Point]]:
    """Points by key, in the order of the keys."""
    groups: dict[str, list[Point]] = defaultdict(list)
    for point in points:
        groups[key(point)].append(point)
    return dict(sorted(groups.items()))


def rank_models(points: Sequence[Point]) -> list[tuple[str, list[Point]]]:
    """Models, those with the most points that are off by more than 30 % first."""
    groups = group_by(points, lambda point: point.graph[0])
    return sorted(groups.items(), key=lambda item: (-sum(point.far for point in item[1]), item[0]))
