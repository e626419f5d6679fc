"""A histogram of raw values whose range doubles as larger values come; the order of samples never matters."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.settings import get_count

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Below 2^-100 the factor bins / range would overflow fp32; such a tensor is zero for any int8 scheme.
_SMALLEST_EXPONENT = -100


class Histogram:
    """`2 * bins` equal bins over [-2^e, 2^e), where 2^e > |x| for every value that `grow` was told of.

    Widths are powers of two, so that growing merges whole bins: the result equals a histogram made
    with the final range at once, whatever the order of samples.
    """

    def __init__(self) -> None:
        self.bins = get_count("observation", "bins")
        self.exponent = _SMALLEST_EXPONENT
        self.counts: NDArray[np.int64] = np.zeros(2 * self.bins, np.int64)

    @property
    def width(self) -> float:
        """Width of one bin, in the tensor's units."""
        return math.ldexp(1.0, self.exponent) / self.bins

    def grow(self, magnitude: float) -> None:
        """Widen the range until it holds `magnitude` (>= 0, finite)."""
        exponent = max(math.frexp(magnitude)[1], _SMALLEST_EXPONENT)
        if exponent <= self.exponent:
            return
        shift = min(exponent - self.exponent, 62)
        merged = (np.arange(-self.bins, self.bins) >> shift) + self.bins
        counts = np.zeros_like(self.counts)
        np.add.at(counts, merged, self.counts)
        self.counts, self.exponent = counts, exponent

    def add(self, values: NDArray[np.float32]) -> None:
        """Count finite values whose magnitude `grow` has been told of; `values` is overwritten."""
        np.multiply(values, np.float32(self.bins / math.ldexp(1.0, self.exponent)), out=values)
        np.floor(values, out=values)
        places = values.astype(np.intp)
        places += self.bins
        self.counts += np.bincount(places, minlength=2 * self.bins)

    def fold(self, magnitude: float) -> NDArray[np.int64]:
        """Counts of |x| in bins of the same width, as many as hold `magnitude`."""
        folded = self.counts[self.bins :] + self.counts[: self.bins][::-1]
        return folded[: math.floor(magnitude / self.width) + 1]
