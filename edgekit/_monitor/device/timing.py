"""Latency or energy of many inferences: a histogram with fixed bounds for Prometheus, and a sketch.

This file runs on the device too: standard library and numpy, Python 3.8.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from typing import Any, Dict, List, Optional, Tuple

from .sketch import Sketch

# Five bounds a decade: 0.1 ms to 100 s, and 10 uJ to 1 kJ.
LATENCY_BOUNDS_S = tuple(float("%.3g" % 10 ** (step / 5.0)) for step in range(-20, 11))
ENERGY_BOUNDS_J = tuple(float("%.3g" % 10 ** (step / 5.0)) for step in range(-25, 16))
# Single numbers wait until so many are there: a sketch takes them in together for little more than one.
_WAITING = 256


class Timing:
    """One quantity, one number an inference; `total` is the sum of all."""

    def __init__(self, bounds: Tuple[float, ...], seed: Optional[int] = None) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.total = 0.0
        self._sketch = Sketch(seed=seed)
        self._waiting: List[float] = []

    @property
    def count(self) -> int:
        return sum(self.counts)

    def add(self, value: float) -> None:
        """Take in one number; ValueError for one that is negative or not finite."""
        if not 0.0 <= value < math.inf:
            raise ValueError("%r is no latency or energy: give seconds or joules" % (value,))
        value = float(value)  # a numpy number would be written as one
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value
        self._waiting.append(value)
        if len(self._waiting) >= _WAITING:
            self.sketch()

    def sketch(self) -> Sketch:
        """The sketch of all numbers so far."""
        if self._waiting:
            self._sketch.update(self._waiting)
            self._waiting = []
        return self._sketch

    def to_json(self) -> Dict[str, Any]:
        """The JSON form: bounds (each the upper end of its count), one count more than bounds, and the sketch."""
        return {
            "bounds": list(self.bounds),
            "counts": list(self.counts),
            "total": self.total,
            "sketch": self.sketch().to_json(),
        }
