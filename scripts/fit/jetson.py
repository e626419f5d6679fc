"""Family fit of Jetsons: YOLO11 under TensorRT, one fit a device and precision, sizes held out in turn."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._work_terms import TERMS
from scripts.fit.family import MAC_TERMS, CellFit, typical
from scripts.fit.regress import Array, fit_logs

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.fit.family import Graph

# Five sizes bear few terms: a time a node that runs, and one a MAC, whichever product it is in: tensor cores
# compute attention as they compute convolutions.
USED = ("layers", "macs")
PULL = 0.02


def fit_jetsons(
    graphs: Mapping[Graph, Mapping[str, float]], known: Mapping[tuple[str, str, str], Mapping[Graph, float]]
) -> list[CellFit]:
    """One cell a device and precision; every size is held out in turn."""
    made = []
    usual = dict(zip(TERMS, typical(list(graphs.values())), strict=True))
    unit = {"layers": usual["layers"], "macs": usual["dense"]}
    for (device, runtime, precision), rows in sorted(known.items()):
        names = sorted(name for name in rows if name in graphs)
        if len(names) < 4:
            continue
        sums = {name: {"layers": graphs[name]["layers"], "macs": count_gmacs(graphs[name])} for name in names}
        terms = np.array([[sums[name][term] / unit[term] for term in USED] for name in names])
        logs = np.array([math.log(rows[name]) for name in names])
        held = {}
        for index, name in enumerate(names):
            kept = np.arange(len(names)) != index
            own = fit_terms(terms[kept], logs[kept])
            held[name] = math.log(float(terms[index] @ np.exp(own))) - float(logs[index])
        found = np.exp(fit_terms(terms, logs))
        layer, mac = (float(value) / float(unit[term]) for term, value in zip(USED, found, strict=True))
        kept_ms = {"layers": layer, **dict.fromkeys(MAC_TERMS, mac)}
        sizes = [sums[name]["macs"] for name in names]
        made.append(CellFit(device, runtime, precision, kept_ms, held, (min(sizes), max(sizes))))
    return made


def count_gmacs(terms: Mapping[str, float]) -> float:
    """All G MACs of a graph."""
    return sum(terms[kind] for kind in MAC_TERMS)


def fit_terms(terms: Array, logs: Array) -> Array:
    """Logs of the coefficients of two terms that are about one in size."""
    start = np.full(len(USED), float(np.median(logs)) - 1.0)
    return fit_logs(terms, logs, start, PULL, steps=30)
