"""Latency as a sum of non-negative terms, fitted to logarithms, robustly, towards a prior."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
# Errors (of logarithms) beyond this weigh by their size, not its square: a job gone wrong bends nothing.
ROBUST = 0.15
# How strongly coefficients are drawn: the family's to the prior, a cell's to the family's.
SHAPE_PULL = 0.3
CELL_PULL = 0.3


@dataclass(frozen=True)
class Cells:
    """Measured points of many cells (device and runtime): terms [n, k], log ms [n], cells, groups."""

    terms: Array
    logs: Array
    cells: NDArray[np.int64]
    groups: NDArray[np.str_]

    @property
    def count(self) -> int:
        """How many cells there are."""
        return int(self.cells.max()) + 1

    def without(self, group: str) -> NDArray[np.bool_]:
        """Which points are of other groups."""
        return np.not_equal(self.groups, group)


def fit_logs(terms: Array, logs: Array, prior: Array, pull: float, *, steps: int = 12) -> Array:
    """Log coefficients t of `terms @ exp(t)`, by reweighted least squares pulled towards `prior`."""
    found = prior.copy()
    for _ in range(steps):
        parts = terms * np.exp(found)
        total = parts.sum(axis=1)
        error = np.log(total) - logs
        slope = parts / total[:, None]
        weight = 1 / (1 + np.abs(error) / ROBUST)
        matrix = (slope * weight[:, None]).T @ slope + (pull + 1e-6) * np.eye(len(prior))
        aim = -(slope * weight[:, None]).T @ error - pull * (found - prior)
        found = found + np.clip(np.linalg.solve(matrix, aim), -1, 1)
    return found


def fit_family(
    data: Cells, kept: NDArray[np.bool_], prior: Array, offsets: Array, rounds: int
) -> tuple[Array, Array]:
    """One shape for all cells and each cell's factor (as logarithms), from the points that are kept."""
    shape, factors = prior, offsets.copy()
    for _ in range(rounds):
        rest = data.logs - factors[data.cells]
        shape = fit_logs(data.terms[kept], rest[kept], prior, SHAPE_PULL, steps=10)
        rest = data.logs - np.log(data.terms @ np.exp(shape))
        for cell in range(data.count):
            own = kept & (data.cells == cell)
            if own.any():
                factors[cell] = np.median(rest[own])
    return shape, factors


def fit_cell(data: Cells, kept: NDArray[np.bool_], cell: int, prior: Array) -> Array:
    """One cell's own coefficients, near the family's."""
    own = kept & (data.cells == cell)
    return fit_logs(data.terms[own], data.logs[own], prior, CELL_PULL)
