"""A mergeable quantile sketch (KLL) of numbers: a few hundred of them stand for any number of them.

After Karnin, Lang and Liberty, "Optimal Quantile Approximation in Streams" (FOCS 2016). This file runs on the
device too: standard library and numpy, Python 3.8.
"""

from __future__ import annotations

import base64
import binascii
import math
import random
from typing import Any, Dict, List, Optional, Tuple

import numpy as np

# Numbers kept on the widest level. 256 keeps the rank error near 1 % (the sketch tells its own).
WIDTH = 256
# Each level below the top is this much narrower than the one above it, down to _NARROWEST.
_SHRINK = 2.0 / 3.0
_NARROWEST = 8
# A sketch of 2**62 numbers: what a damaged or hostile file claims stops here.
_MOST_LEVELS = 62
_MOST_COUNT = 1 << 62
_LARGEST = float(np.finfo(np.float32).max)
_KEYS = {"count", "nonfinite", "least", "most", "squares", "sizes", "items"}


class SketchError(ValueError):
    """A JSON form that no sketch wrote."""


class Sketch:
    """Quantiles and ranks of a stream of numbers, kept as float32, within a rank error that it knows.

    width: the sizes of two sketches that are merged must be equal. seed: None draws one, so that the errors of
    many sketches average out; a given one makes the sketch repeatable. count: finite numbers seen; nonfinite:
    NaN and infinities, which are counted and not sketched. least, most: the exact smallest and largest.
    """

    def __init__(self, width: int = WIDTH, seed: Optional[int] = None) -> None:
        self.width = width
        self.count = 0
        self.nonfinite = 0
        self.least = math.inf
        self.most = -math.inf
        # Sum of the squared weights of all compactions: what the error bound is made of.
        self.squares = 0
        self._levels: List[np.ndarray] = [np.empty(0, np.float32)]
        self._coin = random.Random(seed)

    def update(self, values: Any) -> None:
        """Take in an array of any shape and numeric dtype; numbers beyond float32's count as not finite."""
        with np.errstate(over="ignore", invalid="ignore"):
            flat = np.asarray(values).reshape(-1).astype(np.float32)
        finite = np.isfinite(flat)
        if not finite.all():
            self.nonfinite += int(flat.size - np.count_nonzero(finite))
            flat = flat[finite]
        if flat.size == 0:
            return
        self.count += int(flat.size)
        self.least = min(self.least, float(flat.min()))
        self.most = max(self.most, float(flat.max()))
        self._levels[0] = np.concatenate((self._levels[0], flat))
        self._compress()

    def merge(self, other: Sketch) -> None:
        """Take in what another sketch of the same width has seen; ValueError for one of another width."""
        if other.width != self.width:
            raise ValueError("sketches of width %d and %d cannot be merged" % (self.width, other.width))
        self.count += other.count
        self.nonfinite += other.nonfinite
        self.least, self.most = min(self.least, other.least), max(self.most, other.most)
        self.squares += other.squares
        while len(self._levels) < len(other._levels):
            self._levels.append(np.empty(0, np.float32))
        for level, items in enumerate(other._levels):
            self._levels[level] = np.concatenate((self._levels[level], items))
        self._compress()

    def weighted(self) -> Tuple[np.ndarray, np.ndarray]:
        """The kept numbers in order (float64) and how many numbers each stands for (float64)."""
        items = np.concatenate(self._levels).astype(np.float64)
        weights = np.concatenate([np.full(len(one), 2.0**n) for n, one in enumerate(self._levels)])
        order = np.argsort(items, kind="stable")
        return items[order], weights[order]

    def cdf(self, points: Any) -> np.ndarray:
        """The share of the numbers that are <= each point; NaN where nothing was seen."""
        items, weights = self.weighted()
        below = np.concatenate(([0.0], np.cumsum(weights)))
        with np.errstate(invalid="ignore"):
            shares = below[np.searchsorted(items, np.asarray(points, np.float64), side="right")] / below[-1]
        return np.asarray(shares, np.float64)

    def quantile(self, share: float) -> float:
        """The smallest kept number with at least that share at or below it; NaN where nothing was seen."""
        if self.count == 0:
            return math.nan
        if share <= 0.0 or share >= 1.0:
            return self.least if share <= 0.0 else self.most
        items, weights = self.weighted()
        place = np.searchsorted(np.cumsum(weights), share * weights.sum(), side="left")
        return float(items[min(int(place), len(items) - 1)])

    def rank_error(self, doubt: float = 0.01) -> float:
        """How far `cdf` is off at any one point at most, but for a chance of `doubt`; a share of `count`.

        Each compaction moves the rank of a point by its weight up, down or not at all, by a fair coin:
        Hoeffding's inequality over all that this sketch and those merged into it ever did.
        """
        return math.sqrt(2.0 * self.squares * math.log(2.0 / doubt)) / self.count if self.count else 0.0

    def to_json(self) -> Dict[str, Any]:
        """The compact JSON form: level sizes, and all items as base64 of little-endian float32."""
        packed = np.concatenate(self._levels).astype("<f4").tobytes()
        return {
            "count": self.count,
            "nonfinite": self.nonfinite,
            "least": self.least if self.count else None,
            "most": self.most if self.count else None,
            "squares": self.squares,
            "sizes": [len(one) for one in self._levels],
            "items": base64.b64encode(packed).decode("ascii"),
        }

    def _capacity(self, level: int) -> int:
        depth = len(self._levels) - 1 - level
        return max(_NARROWEST, math.ceil(self.width * _SHRINK**depth))

    def _compress(self) -> None:
        """Halve levels from the bottom until all together hold no more than their capacities."""
        level = 0
        while sum(map(len, self._levels)) > sum(map(self._capacity, range(len(self._levels)))):
            while len(self._levels[level]) <= self._capacity(level):
                level += 1
            self._compact(level)
            level = 0

    def _compact(self, level: int) -> None:
        """Keep every other number of a level, with twice the weight; an odd one out stays where it is."""
        items = np.sort(self._levels[level])
        if level + 1 == len(self._levels):
            self._levels.append(np.empty(0, np.float32))
        paired = len(items) - len(items) % 2
        kept = items[self._coin.getrandbits(1) : paired : 2]
        self._levels[level] = items[paired:]
        self._levels[level + 1] = np.concatenate((self._levels[level + 1], kept))
        self.squares += 4**level


def read_sketch(row: Any, width: int = WIDTH, seed: Optional[int] = None) -> Sketch:
    """A sketch from its JSON form; SketchError says which rule a damaged or hostile one breaks."""
    if not isinstance(row, dict) or set(row) != _KEYS:
        raise SketchError("it has not exactly the keys %s" % ", ".join(sorted(_KEYS)))
    sketch = Sketch(width, seed)
    sketch.count = _whole(row["count"], "count")
    sketch.nonfinite = _whole(row["nonfinite"], "nonfinite")
    sketch.squares = _whole(row["squares"], "squares", 1 << 124)
    sizes = row["sizes"]
    if not isinstance(sizes, list) or not 1 <= len(sizes) <= _MOST_LEVELS:
        raise SketchError("sizes is no list of 1 to %d levels" % _MOST_LEVELS)
    sizes = [_whole(size, "sizes") for size in sizes]
    if sum(size << level for level, size in enumerate(sizes)) != sketch.count:
        raise SketchError("the weights of its items do not add up to count")
    items = _items(row["items"], sum(sizes), 4 * width + _NARROWEST * _MOST_LEVELS)
    sketch._levels = np.split(items, np.cumsum(sizes)[:-1])
    if sketch.count == 0:
        if row["least"] is not None or row["most"] is not None:
            raise SketchError("least and most stand beside a count of 0")
    else:
        sketch.least, sketch.most = _finite(row["least"], "least"), _finite(row["most"], "most")
        if sketch.least > items.min() or sketch.most < items.max():
            raise SketchError("an item lies outside least and most")
    return sketch


def draw_some(values: np.ndarray, most: int, draw: np.random.Generator) -> np.ndarray:
    """At most that many numbers of an array as a new flat one, each place as likely as any other."""
    if values.size <= most:
        return values.flatten()
    return take_places(values, draw.integers(0, values.size, most))


def take_places(values: np.ndarray, places: np.ndarray) -> np.ndarray:
    """The numbers at flat places of an array, as a new flat one; an array of any strides is not copied."""
    if values.flags.c_contiguous:
        return values.take(places)
    return values[np.unravel_index(places, values.shape)]


def _items(text: Any, count: int, most: int) -> np.ndarray:
    if not isinstance(text, str) or count > most:
        raise SketchError("items is no text of at most %d numbers" % most)
    try:
        packed = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise SketchError("items is no base64") from error
    if len(packed) != 4 * count:
        raise SketchError("items holds %d bytes and sizes say %d" % (len(packed), 4 * count))
    items = np.frombuffer(packed, "<f4").astype(np.float32)
    if not np.isfinite(items).all():
        raise SketchError("items holds a number that is not finite")
    return items


def _whole(value: Any, name: str, most: int = _MOST_COUNT) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not 0 <= value <= most:
        raise SketchError("%s is no whole number from 0 to 2**%d" % (name, most.bit_length() - 1))
    return value


def _finite(value: Any, name: str) -> float:
    # A whole number may be too long for a float; no float32 is.
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not abs(value) <= _LARGEST:
        raise SketchError("%s is no finite number of float32" % name)
    return float(value)
