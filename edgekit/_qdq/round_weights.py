"""Rounds one float weight to symmetric int8 or int4, each scale chosen where that loses least."""

from __future__ import annotations

import math
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np

from edgekit.calibration.settings import get_number
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgekit._schemes import WeightBits

    Floats = NDArray[np.float32]

RoundingMethod = Literal["rtn", "hqq", "gptq"]
METHODS: dict[RoundingMethod, str] = {
    "rtn": "round to nearest, each scale's clip chosen by mean squared error",
    "hqq": "half-quadratic: scales fitted to where the errors that remain are few (p = 0.7)",
}
Below = Literal["raise", "keep"]
_SMALLEST = 2.0**-100  # of a channel without weights: no division by zero
_CHUNK = 2**18  # elements at a time: the work arrays stay in the processor's cache


@dataclass(frozen=True)
class Grouping:
    """Which weights share a scale: one `channel` axis entry's all, or `block` of them along axis `summed`.

    block 0: one scale a channel.
    """

    channel: int
    summed: int
    block: int = 0


@dataclass(frozen=True)
class RoundedWeight:
    """weight = codes * scale, up to an error of `sqnr_db` (inf: exact).

    codes: int8 of the weight's shape, within +-127 (8 bits), -8..7 (4 bits in blocks) or +-7.
    scales: [channels], or for blocks the weight's shape with axis `summed` divided by the block.
    product_db: SQNR of its product with the calibration samples' data, where those were looked at.
    """

    codes: NDArray[np.int8]
    scales: Floats
    sqnr_db: float
    method: RoundingMethod = "rtn"
    product_db: float | None = None


class _Range(NamedTuple):
    low: int
    high: int
    clips: Floats


@cache
def weight_table() -> dict[str, Any]:
    """weight_only.toml: codes, the smallest weight that is worth them, and where each op has its weight."""
    return tomllib.loads((files("edgekit._qdq") / "weight_only.toml").read_text(encoding="utf-8"))


def smallest_elements() -> int:
    """A weight of fewer elements stays as it is."""
    elements: int = weight_table()["smallest"]["elements"]
    return elements


@cache
def _range_of(form: str) -> _Range:
    row = weight_table()["codes"][form]
    return _Range(row["low"], row["high"], np.array(row["clips"], np.float32))


def round_weight(
    weight: Floats,
    bits: WeightBits,
    grouping: Grouping,
    *,
    method: Literal["rtn", "hqq"] = "rtn",
    importance: Floats | None = None,
) -> RoundedWeight:
    """Codes and scales of a weight; of every scale's clips the one with the least squared error is taken.

    method `hqq` then fits each scale further. importance: how much an error counts, along `summed` of a
    matrix. Scales are numbers that fp16 holds as normal ones, so that every runtime keeps them; those of
    blocks are at least 2^-14, smaller ones of channels stay in fp32 (rounding them up would cost their
    levels). Works through the weight piece by piece; ModelError where it is not finite.
    """
    limits = _limits(bits, grouping)
    groups = _group_view(weight, grouping)
    codes = np.empty(groups.shape, np.int8)
    scales = np.empty((groups.shape[0], groups.shape[2]), np.float32)
    weighing = None if importance is None else importance.reshape(-1, groups.shape[1])
    signal = noise = 0.0
    for outer, inner in _pieces(groups.shape):
        piece = np.ascontiguousarray(groups[outer, :, inner], np.float32)
        rows = np.arange(outer.start, outer.start + len(piece))
        weighed = None if weighing is None else weighing[rows % len(weighing)]
        made, factor, error = _round_piece(piece, limits, _Fit(grouping.block > 0, method, weighed))
        codes[outer, :, inner], scales[outer, inner] = made, factor
        signal += float(np.sum(np.square(piece), dtype=np.float64))
        noise += error
    return RoundedWeight(
        _ungroup(codes, weight.shape, grouping),
        scales.reshape(_scale_shape(weight.shape, grouping)),
        ratio_db(signal, noise),
        method,
    )


def ratio_db(signal: float, noise: float) -> float:
    """10 log10 of two sums of squares; inf without noise."""
    return math.inf if noise == 0 else 10 * math.log10(max(signal, 1e-300) / noise)


def code_range(bits: WeightBits, grouping: Grouping) -> tuple[int, int]:
    """The lowest and the highest code."""
    limits = _limits(bits, grouping)
    return limits.low, limits.high


def _limits(bits: WeightBits, grouping: Grouping) -> _Range:
    return _range_of("int8" if bits == 8 else "int4" if grouping.block else "int4_channel")


class _Fit(NamedTuple):
    """How a piece's scales are found: raised to fp16's normal numbers or kept, and by which method."""

    raised: bool
    method: Literal["rtn", "hqq"]
    importance: Floats | None  # [outer, group]

    @property
    def below(self) -> Below:
        return "raise" if self.raised else "keep"


def _round_piece(piece: Floats, limits: _Range, fit: _Fit) -> tuple[NDArray[np.int8], Floats, float]:
    """Codes, scales and squared error of groups [outer, group, inner]."""
    largest = np.abs(piece).max(axis=1)
    if not np.isfinite(largest).all():
        raise ModelError("a weight is NaN or infinite", fix="export the model again from sound weights")
    best = np.full(largest.shape, np.inf, np.float32)
    chosen = np.ones_like(largest)
    work = np.empty_like(piece)
    for clip in limits.clips:
        scale = fp16_scales(largest * (clip / limits.high), fit.below)
        _round_into(work, piece, scale, limits)
        work *= scale[:, None, :]
        work -= piece
        if fit.importance is None:
            error = np.einsum("abc,abc->ac", work, work)
        else:
            error = np.einsum("abc,abc,ab->ac", work, work, fit.importance)
        better = error < best
        best[better], chosen[better] = error[better], scale[better]
    if fit.method == "hqq":
        chosen = _fit_scales(piece, chosen, limits, fit.below)
    _round_into(work, piece, chosen, limits)
    codes = work.astype(np.int8)
    work *= chosen[:, None, :]
    work -= piece
    return codes, chosen, float(np.einsum("abc,abc->", work, work, dtype=np.float64))


def _fit_scales(piece: Floats, scale: Floats, limits: _Range, below: Below) -> Floats:
    """Half-quadratic scales: errors that a shrinkage calls outliers no longer pull on them.

    (Badri and Shaji 2023, "Half-Quadratic Quantization": there the zero-point is fitted, and symmetric
    weights have none.) The iterate with the least sum of |error|^p is taken.
    """
    best, fitted = np.full(scale.shape, np.inf, np.float32), scale
    work, pull = np.empty_like(piece), _HQQ.pull
    for _ in range(_HQQ.rounds):
        _round_into(work, piece, scale, limits)
        error = piece / scale[:, None, :] - work  # in steps
        size = np.abs(error)
        cost = np.sum(size**_HQQ.power, axis=1) * scale**_HQQ.power
        better = cost < best
        best, fitted = np.where(better, cost, best), np.where(better, scale, fitted)
        shrunk = np.sign(error) * np.maximum(size - np.maximum(size, 1e-6) ** (_HQQ.power - 1) / pull, 0)
        square = np.einsum("abc,abc->ac", work, work)
        moved = np.einsum("abc,abc->ac", work, (work + error - shrunk)) * scale
        scale = fp16_scales(np.where(square > 0, moved / np.maximum(square, 1), scale), below)
        pull *= _HQQ.growth
    return fitted


class _HalfQuadratic(NamedTuple):
    power: float
    pull: float
    growth: float
    rounds: int


_HQQ = _HalfQuadratic(0.7, 10.0, 1.01, 20)  # the paper's p, beta, kappa and iterations


def _round_into(out: Floats, piece: Floats, scale: Floats, limits: _Range) -> None:
    np.divide(piece, scale[:, None, :], out=out)
    np.rint(out, out=out)
    np.clip(out, limits.low, limits.high, out=out)


def fp16_scales(wanted: Floats, below: Below) -> Floats:
    """The nearest numbers that fp16 holds as normal ones; what lies below is raised, or kept."""
    largest = get_number("scales", "largest_fp16")
    if np.any(wanted > largest):
        raise ModelError(
            f"a weight needs a scale of {float(wanted.max()):g}, above the {largest:g} that fp16 holds",
            fix="keep the node in float with --float",
        )
    smallest = get_number("scales", "smallest_fp16")
    near = np.maximum(wanted, smallest).astype(np.float16).astype(np.float32)
    return near if below == "raise" else np.where(wanted < smallest, np.maximum(wanted, _SMALLEST), near)


def _group_view(weight: NDArray[Any], grouping: Grouping) -> NDArray[Any]:
    """[outer, group, inner] with one scale for each (outer, inner); a view wherever numpy can give one."""
    shape, axis = weight.shape, grouping.summed
    if grouping.block:
        before, after = math.prod(shape[:axis]), math.prod(shape[axis + 1 :])
        return weight.reshape(before * (shape[axis] // grouping.block), grouping.block, after)
    if grouping.channel == weight.ndim - 1:
        return weight.reshape(1, -1, shape[-1])
    return np.moveaxis(weight, grouping.channel, 0).reshape(shape[grouping.channel], -1, 1)


def _ungroup(codes: NDArray[np.int8], shape: tuple[int, ...], grouping: Grouping) -> NDArray[np.int8]:
    """The inverse of _group_view."""
    if grouping.block or grouping.channel == len(shape) - 1:
        return codes.reshape(shape)
    moved = (shape[grouping.channel], *(size for i, size in enumerate(shape) if i != grouping.channel))
    return np.ascontiguousarray(np.moveaxis(codes.reshape(moved), 0, grouping.channel))


def _scale_shape(shape: tuple[int, ...], grouping: Grouping) -> tuple[int, ...]:
    if not grouping.block:
        return (shape[grouping.channel],)
    return tuple(
        size // grouping.block if axis == grouping.summed else size for axis, size in enumerate(shape)
    )


def _pieces(shape: tuple[int, ...]) -> Iterator[tuple[slice, slice]]:
    """Slices of the outer and the inner axis that hold about _CHUNK elements."""
    outer, group, inner = shape
    columns = max(1, min(inner, _CHUNK // group))
    rows = max(1, _CHUNK // (group * columns))
    for start in range(0, outer, rows):
        for left in range(0, inner, columns):
            yield slice(start, start + rows), slice(left, left + columns)
