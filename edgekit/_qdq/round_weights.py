"""Rounds one float weight to symmetric int8 or int4, each scale clipped where that loses least."""

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

    from edgekit._values import WeightBits

    Floats = NDArray[np.float32]

METHOD = "round to nearest, each scale's clip chosen by mean squared error"
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
    """

    codes: NDArray[np.int8]
    scales: Floats
    sqnr_db: float


class _Range(NamedTuple):
    low: int
    high: int
    clips: Floats


@cache
def _range_of(form: str) -> _Range:
    text = (files("edgekit._qdq") / "weight_only.toml").read_text(encoding="utf-8")
    row = tomllib.loads(text)["codes"][form]
    return _Range(row["low"], row["high"], np.array(row["clips"], np.float32))


def round_weight(weight: Floats, bits: WeightBits, grouping: Grouping) -> RoundedWeight:
    """Codes and scales of a weight; of every scale's clips the one with the least squared error is taken.

    Scales are numbers that fp16 holds as normal ones, so that every runtime keeps them; those of blocks are
    at least 2^-14, smaller ones of channels stay in fp32 (rounding them up would cost their levels).
    Works through the weight piece by piece; ModelError where it is not finite.
    """
    limits = _range_of("int8" if bits == 8 else "int4" if grouping.block else "int4_channel")
    groups = _group_view(weight, grouping)
    codes = np.empty(groups.shape, np.int8)
    scales = np.empty((groups.shape[0], groups.shape[2]), np.float32)
    signal = noise = 0.0
    for outer, inner in _pieces(groups.shape):
        piece = np.ascontiguousarray(groups[outer, :, inner], np.float32)
        made, factor, error = _round_piece(piece, limits, "raise" if grouping.block else "keep")
        codes[outer, :, inner], scales[outer, inner] = made, factor
        signal += float(np.sum(np.square(piece), dtype=np.float64))
        noise += error
    ratio = np.inf if noise == 0 else 10 * np.log10(max(signal, 1e-300) / noise)
    return RoundedWeight(
        _ungroup(codes, weight.shape, grouping),
        scales.reshape(_scale_shape(weight.shape, grouping)),
        float(ratio),
    )


def _round_piece(piece: Floats, limits: _Range, below: Below) -> tuple[NDArray[np.int8], Floats, float]:
    """Codes, scales and squared error of groups [outer, group, inner]."""
    largest = np.abs(piece).max(axis=1)
    if not np.isfinite(largest).all():
        raise ModelError("a weight is NaN or infinite", fix="export the model again from sound weights")
    best = np.full(largest.shape, np.inf, np.float32)
    chosen = np.ones_like(largest)
    work = np.empty_like(piece)
    for clip in limits.clips:
        scale = fp16_scales(largest * (clip / limits.high), below)
        _round_into(work, piece, scale, limits)
        work *= scale[:, None, :]
        work -= piece
        error = np.einsum("abc,abc->ac", work, work)
        better = error < best
        best[better], chosen[better] = error[better], scale[better]
    _round_into(work, piece, chosen, limits)
    return work.astype(np.int8), chosen, float(np.sum(best, dtype=np.float64))


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
