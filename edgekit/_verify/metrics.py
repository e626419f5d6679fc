"""Streaming comparison of one output with its reference: SQNR, cosine, largest difference, top-1."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._results import OutputParity
from edgekit.errors import GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Arrays = Mapping[str, np.ndarray]

# Elements compared at a time: float64 copies of a large output stay near 8 MB each.
_CHUNK = 1 << 20
# Integers this wide are labels, indices or counts; narrower ones are quantized numbers.
_LABEL_BITS = 32


class OutputComparison:
    """Sums over any number of samples for one output; memory does not grow with them.

    A NaN is never equal, not even to a NaN: it makes `sqnr_db` -inf, `max_abs` inf and `cosine` 0,
    as does an Inf where the reference has another value. Equal Infs are equal and leave the sums.
    Where nothing was compared (every array empty), `sqnr_db` and `cosine` are NaN, which no gate passes.
    """

    def __init__(self, output: str, scores: frozenset[str] | None = None) -> None:
        """scores: the outputs whose largest number is a decision (as in Golden); None: all of them."""
        self._output = output
        self._decides = scores is None or output in scores
        self._elements = 0
        self._broken = 0
        self._dot = self._actual = self._expected = self._noise = self._largest = 0.0
        self._rows = self._agreeing = 0

    def add(self, actual: np.ndarray, expected: np.ndarray) -> None:
        """Compare one sample's output; GateError when shapes or kinds of number differ."""
        _check_comparable(self._output, actual, expected)
        self._elements += expected.size
        flat_actual, flat_expected = actual.reshape(-1), expected.reshape(-1)
        for start in range(0, expected.size, _CHUNK):
            part = slice(start, start + _CHUNK)
            self._add_chunk(flat_actual[part], flat_expected[part])
        if self._decides or expected.dtype.kind != "f":
            rows, agreeing = _count_top1(actual, expected)
            self._rows += rows
            self._agreeing += agreeing

    def _add_chunk(self, actual: np.ndarray, expected: np.ndarray) -> None:
        got, want = actual.astype(np.float64), expected.astype(np.float64)
        if not math.isfinite(_dot(got, got) + _dot(want, want)):  # finite only where every number is
            finite = np.isfinite(got) & np.isfinite(want)
            self._broken += int(np.count_nonzero(~finite & (actual != expected)))
            actual, expected, got, want = actual[finite], expected[finite], got[finite], want[finite]
        with np.errstate(over="ignore"):
            apart = np.abs(got - want) if expected.dtype.kind == "f" else _distance(actual, expected)
            self._dot += _dot(got, want)
            self._actual += _dot(got, got)
            self._expected += _dot(want, want)
            self._noise += _dot(apart, apart)
        self._largest = max(self._largest, float(apart.max(initial=0.0)))

    @property
    def top1(self) -> float | None:
        """Share of rows whose argmax agrees so far; None where there are no such rows."""
        return self._agreeing / self._rows if self._rows else None

    def result(self) -> OutputParity:
        """What the samples so far show."""
        if not self._elements:
            return OutputParity(self._output, math.nan, math.nan, 0.0, None)
        top1 = self.top1
        if self._broken or not math.isfinite(self._noise + self._expected + self._actual):
            return OutputParity(self._output, -math.inf, 0.0, math.inf, top1)
        return OutputParity(self._output, self._sqnr_db(), self._cosine(), self._largest, top1)

    def _sqnr_db(self) -> float:
        if self._largest == 0.0:
            return math.inf
        if self._expected == 0.0:
            return -math.inf
        # Differences too small for their squares to be held are below any gate's reach.
        if self._noise == 0.0:
            return math.inf
        return 10.0 * math.log10(self._expected) - 10.0 * math.log10(self._noise)

    def _cosine(self) -> float:
        if self._largest == 0.0:
            return 1.0
        norms = math.sqrt(self._actual) * math.sqrt(self._expected)
        return max(-1.0, min(1.0, self._dot / norms)) if norms else 0.0


def worst_sqnr_db(pairs: Iterable[tuple[Arrays, Arrays]]) -> float:
    """SQNR of the worst float output over (expected, actual) outputs; inf where none can be judged."""
    comparisons: dict[str, OutputComparison] = {}
    for expected, actual in pairs:
        for name, array in expected.items():
            if array.dtype.kind == "f":
                comparisons.setdefault(name, OutputComparison(name)).add(actual[name], array)
    found = [comparison.result().sqnr_db for comparison in comparisons.values()]
    return min((rate for rate in found if not math.isnan(rate)), default=math.inf)


def _check_comparable(output: str, actual: np.ndarray, expected: np.ndarray) -> None:
    if actual.shape != expected.shape:
        raise GateError(
            f"output '{output}': the artifact gave shape {actual.shape}, expected {expected.shape}",
            fix="build the artifact again from the same source model and shapes",
        )
    kinds = _number_kind(output, actual), _number_kind(output, expected)
    if kinds[0] != kinds[1]:
        raise GateError(
            f"output '{output}': the artifact gave {actual.dtype}, expected {expected.dtype}",
            fix="keep the output's kind of number: a float output must stay float",
        )


def _number_kind(output: str, array: np.ndarray) -> str:
    if array.dtype.kind in "iub":
        return "integer"
    if array.dtype.kind == "f":
        return "float"
    raise GateError(
        f"output '{output}': dtype {array.dtype} has no numeric comparison",
        fix="end the model at a float, integer or bool tensor",
    )


def _dot(left: np.ndarray, right: np.ndarray) -> float:
    """Sum of the products, on this thread: a BLAS wakes others, which wait longer than this takes."""
    return float(np.einsum("i,i->", left, right))


def _distance(actual: np.ndarray, expected: np.ndarray) -> np.ndarray:
    """|actual - expected| of integers as float64; they are subtracted exactly first, as int64 holds more."""
    wide = np.uint64 if np.uint64 in (actual.dtype, expected.dtype) else np.int64
    left, right = actual.astype(wide), expected.astype(wide)
    larger, smaller = np.maximum(left, right), np.minimum(left, right)
    return (larger.view(np.uint64) - smaller.view(np.uint64)).astype(np.float64)


def _count_top1(actual: np.ndarray, expected: np.ndarray) -> tuple[int, int]:
    """(rows compared, rows that agree); (0, 0) where top-1 has no meaning.

    [N, C] and [N, T, C] floats: each row of the last axis is one decision, and it agrees where the
    artifact's argmax is a largest entry of the reference (an exact tie has several). 32- and 64-bit
    integers and bools: each element is a decision already. Rank 4 and more is a map, whose class
    axis is unknown, and rank 1 has no batch axis to tell rows by: neither is counted.
    """
    kind, bits = expected.dtype.kind, expected.dtype.itemsize * 8
    if kind == "b" or (kind in "iu" and bits >= _LABEL_BITS):
        return expected.size, int(np.count_nonzero(actual == expected))
    if expected.ndim not in (2, 3) or expected.shape[-1] < 2 or not expected.size:
        return 0, 0
    got = actual.reshape(-1, actual.shape[-1])
    want = expected.reshape(-1, expected.shape[-1])
    chosen = np.take_along_axis(want, got.argmax(axis=1)[:, None], axis=1)[:, 0]
    agrees = (chosen == want.max(axis=1)) & ~np.isnan(got).any(axis=1)
    return len(want), int(np.count_nonzero(agrees))


def edit_distance(actual: str, expected: str) -> int:
    """Fewest insertions, deletions and substitutions of characters between two texts (Levenshtein)."""
    previous = list(range(len(expected) + 1))
    for row, got in enumerate(actual, start=1):
        current = [row]
        for column, want in enumerate(expected, start=1):
            substitute = previous[column - 1] + (got != want)
            current.append(min(substitute, previous[column] + 1, current[-1] + 1))
        previous = current
    return previous[-1]
