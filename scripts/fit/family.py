"""Family fits: Qualcomm NPUs by device, runtime and precision, and how they do on models they never saw."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._likeness import describe
from edgekit._work_terms import TERMS
from scripts.fit.regress import Array, Cells, fit_cell, fit_family

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

Key = tuple[str, str]  # device, runtime
Graph = tuple[str, str]  # model, component
LEAST_MODELS = 12
TAIL = 0.095  # a little less than 10 %: quantiles of few errors lie inside of the true ones


@dataclass(frozen=True)
class CellFit:
    """One device, runtime and precision: coefficients (ms a unit of each term) and what held-out models say.

    held: (model, component) -> log of predicted over measured when the model was held out.
    """

    device: str
    runtime: str
    precision: str
    coefficients: Mapping[str, float]
    held: Mapping[Graph, float]
    gmacs: tuple[float, float]


@dataclass(frozen=True)
class Family:
    """All cells of one precision, and the log coefficients they share; likeness None: it did not help."""

    cells: tuple[CellFit, ...]
    shape: Array
    likeness: Resemblance | None


def fit_precision(
    graphs: Mapping[Graph, Mapping[str, float]],
    known: Mapping[Key, Mapping[Graph, float]],
    precision: str,
    wider: Wider | None = None,
) -> Family:
    """All cells of one precision, with every model held out of every cell in turn.

    Integer runs slower than the float run of the same graph there bend no fit: something in them is done
    in float, or again. They are predicted and judged as all others are.
    """
    chosen = {key: _in(graphs, rows) for key, rows in sorted(known.items())}
    chosen = {key: rows for key, rows in chosen.items() if len({model for model, _ in rows}) >= LEAST_MODELS}
    points = [(cell, graph) for cell, rows in enumerate(chosen.values()) for graph in rows]
    unit = typical(list(graphs.values()))
    data = Cells(
        np.array([[graphs[graph][term] for term in TERMS] for _, graph in points]) / unit,
        np.array([math.log(rows[graph]) for rows in chosen.values() for graph in rows]),
        np.array([cell for cell, _ in points]),
        np.array([graph[0] for _, graph in points]),
    )
    start = np.full(len(TERMS), -math.log(len(TERMS)) - 0.5) if wider is None else wider.shape
    offsets = np.array([np.median(data.logs[data.cells == cell]) for cell in range(data.count)])
    floats = {} if wider is None else wider.known
    keys = list(chosen)
    usable = np.array([
        chosen[keys[cell]][graph] < floats.get(keys[cell], {}).get(graph, math.inf) for cell, graph in points
    ])  # fmt: skip
    shape, offsets = fit_family(data, usable, start, offsets, 6)
    fits = {cell: fit_cell(data, usable, cell, shape + offsets[cell]) for cell in range(data.count)}
    study = Study(data, tuple(points), usable, start, offsets, graphs)
    alone, alike = hold_out(study)
    helps = _typical_error(alike) < _typical_error(alone)
    made = []
    for cell, (device, runtime) in enumerate(chosen):
        own = np.exp(fits[cell]) / unit
        sizes = [sum(graphs[graph][kind] for kind in MAC_TERMS) for graph in chosen[device, runtime]]
        kept = {term: float(value) for term, value in zip(TERMS, own, strict=True)}
        held = (alike if helps else alone)[cell]
        made.append(CellFit(device, runtime, precision, kept, held, (min(sizes), max(sizes))))
    likeness = fit_resemblance(graphs, _off(data, points, usable, fits)) if helps else None
    return Family(tuple(made), shape, likeness)


@dataclass(frozen=True)
class Wider:
    """A precision with more models: its shape, from which fits start, and its latencies."""

    shape: Array
    known: Mapping[Key, Mapping[Graph, float]]


@dataclass(frozen=True)
class Study:
    """What holding models out needs: the data, whose points they are, which bend fits, and the graphs."""

    data: Cells
    points: tuple[tuple[int, Graph], ...]
    usable: NDArray[np.bool_]
    prior: Array
    offsets: Array
    graphs: Mapping[Graph, Mapping[str, float]]


Held = dict[int, dict[Graph, float]]  # cell -> graph -> log of predicted over measured


def hold_out(study: Study) -> tuple[Held, Held]:
    """Errors of fits that never saw the graph's model: by sums alone, and with likeness."""
    data, points = study.data, study.points
    alone: Held = defaultdict(dict)
    alike: Held = defaultdict(dict)
    for model in sorted(set(data.groups)):
        others = data.without(model)
        kept: NDArray[np.bool_] = others & study.usable
        shape, factors = fit_family(data, kept, study.prior, study.offsets, 3)
        fits = {cell: fit_cell(data, kept, cell, shape + factors[cell]) for cell in range(data.count)}
        likeness = fit_resemblance(study.graphs, _off(data, points, kept, fits))
        for index in np.flatnonzero(~others):
            cell, graph = points[index]
            error = math.log(float(data.terms[index] @ np.exp(fits[cell]))) - float(data.logs[index])
            alone[cell][graph] = error
            alike[cell][graph] = error + pull(likeness, study.graphs[graph])
    return alone, alike


def _typical_error(held: Held) -> float:
    return float(np.median([abs(error) for rows in held.values() for error in rows.values()]))


MAC_TERMS = ("dense", "depthwise", "grouped", "attention")


def typical(rows: Sequence[Mapping[str, float]]) -> Array:
    """The median of each term where it is not zero: coefficients then have one size."""
    table = np.array([[row[term] for term in TERMS] for row in rows])
    return np.array([np.median(column[column > 0]) if (column > 0).any() else 1.0 for column in table.T])


def _in(graphs: Mapping[Graph, object], rows: Mapping[Graph, float]) -> dict[Graph, float]:
    return {graph: ms for graph, ms in rows.items() if graph in graphs}


@dataclass(frozen=True)
class Resemblance:
    """Gaussian-process weights of what fitted graphs were off by; see edgekit/_likeness.py."""

    means: Array
    spreads: Array
    places: Array
    weights: Array


REACH = 2.0
NOISE = 0.3


def fit_resemblance(graphs: Mapping[Graph, Mapping[str, float]], off: Mapping[Graph, float]) -> Resemblance:
    """Weights from the median error (log of measured over fitted) of each graph over all cells."""
    raw = np.array([describe(graphs[graph]) for graph in off])
    means, spreads = raw.mean(axis=0), raw.std(axis=0)
    places = (raw - means) / spreads
    matrix = _kernel(places, places) + NOISE * np.eye(len(places))
    errors = np.array(list(off.values()))
    return Resemblance(means, spreads, places, np.linalg.solve(matrix, errors).astype(np.float64))


def pull(fit: Resemblance, terms: Mapping[str, float]) -> float:
    """The logarithm that is added to the log of a fit's figure."""
    place = (np.array(describe(terms)) - fit.means) / fit.spreads
    return float(_kernel(place[None], fit.places)[0] @ fit.weights)


def _kernel(left: Array, right: Array) -> Array:
    squares = ((left[:, None] - right[None]) ** 2).sum(axis=-1)
    made: Array = np.exp(-squares / (2 * REACH**2))
    return made


def _off(
    data: Cells, points: Sequence[tuple[int, Graph]], kept: NDArray[np.bool_], fits: Mapping[int, Array]
) -> dict[Graph, float]:
    """Graph -> median over cells of log measured over fitted, of the points that are kept."""
    rows: dict[Graph, list[float]] = defaultdict(list)
    for index in np.flatnonzero(kept):
        made = math.log(float(data.terms[index] @ np.exp(fits[data.cells[index]])))
        rows[points[int(index)][1]].append(float(data.logs[index]) - made)
    return {graph: float(np.median(values)) for graph, values in rows.items()}


def band(errors: Sequence[float]) -> tuple[float, float]:
    """Least and most of measured over predicted, 80 % between: quantiles of held-out errors.

    Interpolated between order statistics: with two dozen models a tail is two of them, and one job gone
    wrong would be the end of every band.
    """
    low, high = np.quantile([-error for error in errors], (TAIL, 1 - TAIL))
    return math.exp(float(low)), math.exp(float(high))
