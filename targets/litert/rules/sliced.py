"""Slice and Pad with starts, steps, pads or axes computed at run time: places along each axis, then GATHER.

What comes out has a known shape, so only where it is taken from is computed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.places import Places

if TYPE_CHECKING:
    from edgekit.targets.litert.call import Call


def slice_at_run_time(call: Call) -> Tensor:
    """Y = X[starts:ends:steps]; the ends are in Y's shape."""
    rank, places = call.x.rank, Places(call)
    starts = places.whole(_narrow(call, call.operand(1)))
    axes = _axes_or_all(call, 3, starts.size)
    steps = places.whole(call.operand(4)) if call.has(4) else constant(np.ones(starts.size, np.int32))
    begins = _by_axis(call, starts, axes)
    strides = places.add(_by_axis(call, places.sub(steps, 1), axes), 1)
    sizes = np.array(call.x.shape)
    last = places.sub(sizes, places.whole_flags(places.less(strides, 0)))  # a backward slice starts inside
    begins = places.minimum(places.maximum(places.wrapped(begins, sizes), 0), last)
    x = call.x
    for axis in _touched(axes, rank):
        step, begin = _entry(call, strides, axis), _entry(call, begins, axis)
        found = places.add(places.mul(np.arange(call.out.shape[axis]), step), begin)
        x = _gathered(call, x, found, axis)
    return x


def _narrow(call: Call, x: Tensor) -> Tensor:
    """int64 held within int32, so that "as far as there is" stays that."""
    if x.dtype != "int64":
        return x
    limits = np.iinfo(np.int32)
    if x.data is not None:
        return constant(np.clip(x.data, limits.min, limits.max))
    low = call.add("MAXIMUM", [x, call.scalar(limits.min, x)], x.shape)
    return call.add("MINIMUM", [low, call.scalar(limits.max, x)], x.shape)


def pad_at_run_time(call: Call) -> Tensor:
    """Y = X with borders; how wide they are at the end is in Y's shape."""
    mode, places = call.text("mode", "constant"), Places(call)
    call.require(mode in ("constant", "edge", "reflect", "wrap"), f"mode '{mode}' has no LiteRT form")
    pads = places.whole(call.operand(1))
    axes = _axes_or_all(call, 3, pads.size // 2)
    low = _by_axis(call, call.slice(pads, (0,), (pads.size // 2,)), axes)
    x, inside = call.x, None
    for axis in _touched(axes, x.rank):
        size, count = call.x.shape[axis], call.out.shape[axis]
        found = places.sub(np.arange(count), _entry(call, low, axis))
        x = _gathered(call, x, _folded(places, found, size, mode), axis)
        if mode == "constant":
            own = places.both(places.at_least(found, 0), places.less(found, size))
            own = call.reshape(own, [count if i == axis else 1 for i in range(x.rank)])
            inside = own if inside is None else places.both(inside, own)
    if inside is None:
        return x
    call.require(x.rank <= 4, "LiteRT's SELECT_V2 broadcasts at most 4 dims")
    fill = call.reshape(call.operand(2), ()) if call.has(2) else call.scalar(0, x)
    return call.emit("SELECT_V2", [inside, x, fill])


def _folded(places: Places, found: Tensor, size: int, mode: str) -> Tensor:
    """Places outside 0..size-1 brought inside as the mode says."""
    if mode == "wrap":
        return places.mod(found, size)
    if mode == "reflect":
        period = max(2 * (size - 1), 1)
        once = places.mod(found, period)
        return places.minimum(once, places.sub(period, once)) if size > 1 else once
    return places.minimum(places.maximum(found, 0), size - 1)


def _axes_or_all(call: Call, index: int, count: int) -> Tensor:
    """The operand `axes`, counted from the front; all in order where it is left out."""
    if not call.has(index):
        return constant(np.arange(count, dtype=np.int32))
    places = Places(call)
    return places.wrapped(call.operand(index), call.x.rank)


def _by_axis(call: Call, values: Tensor, axes: Tensor) -> Tensor:
    """[rank]: each axis's value, 0 for an axis that is not named."""
    places, count = Places(call), axes.size
    named = places.equal(call.reshape(axes, (count, 1)), np.arange(call.x.rank)[None])
    wide = places.mul(places.whole_flags(named), call.reshape(values, (count, 1)))
    return places.total(wide, 0)


def _touched(axes: Tensor, rank: int) -> list[int]:
    return list(range(rank)) if axes.data is None else sorted({int(axis) for axis in axes.data})


def _entry(call: Call, values: Tensor, axis: int) -> Tensor:
    """One entry of a vector, [1]."""
    return call.slice(values, (axis,), (1,))


def _gathered(call: Call, x: Tensor, places: Tensor, axis: int) -> Tensor:
    shape = [places.size if i == axis else size for i, size in enumerate(x.shape)]
    return call.add("GATHER", [x, places], shape, axis=axis)
