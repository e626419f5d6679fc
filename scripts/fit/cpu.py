"""What a node on a phone's CPU takes: public runs of whole models that went to no other unit, pooled."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._fallback import cpu_share
from scripts.fit.regress import fit_logs

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.fit.family import CellFit
    from scripts.fit.regress import Array
    from scripts.fit.tables import Graph

PULL = 0.02  # dozens of runs bear three terms


@dataclass(frozen=True)
class CpuRun:
    """One run of a whole graph on one device's CPU."""

    device: str
    graph: Graph
    ms: float


@dataclass(frozen=True)
class MixedRun:
    """One run of a graph in parts: operators on the NPU and elsewhere. The table does not name them."""

    graph: Graph
    ms: float
    on_npu: int
    elsewhere: int


def over_whole(
    cells: Sequence[CellFit],
    graphs: Mapping[Graph, Mapping[str, float]],
    mixed: Mapping[tuple[str, str, str], Sequence[MixedRun]],
) -> dict[tuple[str, str, str, int, int], list[float]]:
    """(model, runtime, precision, operators on the NPU, elsewhere) -> measured over the whole on the NPU."""
    found: dict[tuple[str, str, str, int, int], list[float]] = defaultdict(list)
    for cell in cells:
        for run in mixed.get((cell.device, cell.runtime, cell.precision), ()):
            if run.graph in graphs:
                whole = sum(ms * graphs[run.graph][term] for term, ms in cell.coefficients.items())
                place = (run.graph[0], cell.runtime, cell.precision, run.on_npu, run.elsewhere)
                found[place].append(run.ms / whole)
    return dict(sorted(found.items()))


@dataclass(frozen=True)
class Cpu:
    """ms a G MAC, a million numbers moved, and an operator; errors: of models held out, over all devices."""

    precision: str
    gmac_ms: float
    moved_ms: float
    op_ms: float
    errors: tuple[float, ...]
    devices: tuple[str, ...]


def fit_cpus(graphs: Mapping[Graph, Mapping[str, float]], known: Mapping[str, Sequence[CpuRun]]) -> list[Cpu]:
    """One fit a precision; `known` holds runs by precision."""
    return [
        _fit(precision, graphs, [run for run in runs if run.graph in graphs])
        for precision, runs in known.items()
    ]


def _fit(precision: str, graphs: Mapping[Graph, Mapping[str, float]], runs: Sequence[CpuRun]) -> Cpu:
    raw = np.array([cpu_share(graphs[run.graph]) for run in runs])
    unit = np.median(raw, axis=0)
    terms, logs = raw / unit, np.log([run.ms for run in runs])
    models = np.array([run.graph[0] for run in runs])
    errors: dict[int, float] = defaultdict(float)
    for model in sorted(set(models)):
        others = models != model
        own = np.flatnonzero(~others)
        said = np.log(terms[own] @ np.exp(_solve(terms[others], logs[others])))
        errors |= dict(zip(own.tolist(), (said - logs[own]).tolist(), strict=True))
    gmac, moved, op = (float(value) for value in np.exp(_solve(terms, logs)) / unit)
    devices = tuple(sorted({run.device for run in runs}))
    return Cpu(precision, gmac, moved, op, tuple(errors[at] for at in range(len(runs))), devices)


def _solve(terms: Array, logs: Array) -> Array:
    start = np.full(terms.shape[1], float(np.median(logs)) - math.log(terms.shape[1]))
    return fit_logs(terms, logs, start, PULL, steps=30)
