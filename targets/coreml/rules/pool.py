"""Pooling: MIL's own windows, and reductions for the global ones."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant
from edgekit.targets.coreml.window import Window

_WINDOW = "auto_pad ceil_mode dilations kernel_shape pads strides"
_MOST_PLACES = 125  # a 5x5x5 window
_GLOBAL = {"GlobalAveragePool": "reduce_mean", "GlobalMaxPool": "reduce_max"}


@rule(" ".join(_GLOBAL))
def global_pool(call: Call) -> Tensor:
    """Y = f(X) over all spatial dims, which stay as 1."""
    axes = list(range(2, call.x.rank))
    return call.emit(_GLOBAL[call.op], x=call.x, axes=axes, keep_dims=True)


@rule("GlobalLpPool", "p")
def global_lp_pool(call: Call) -> Tensor:
    """Y = (sum |X|^p)^(1/p) over all spatial dims."""
    power = call.integer("p", 2)
    f, axes = Formula(call), list(range(2, call.x.rank))
    if power in (1, 2):
        return f.reduce(f"reduce_l{power}_norm", call.x, axes)
    total = f.reduce("reduce_sum", f.binary("pow", f.abs(call.x), float(power)), axes)
    return f.binary("pow", total, 1 / power)


@rule("MaxPool", f"{_WINDOW} storage_order")
def max_pool(call: Call) -> Tensor:
    """Y = the largest value of each window; pads count as -inf."""
    call.require(len(call.outs) == 1, "its second result, the indices, has no Core ML form", "drop it")
    x, window = _padded(call, _pool_window(call), float("-inf"))
    if any(dilation > 1 for dilation in window.dilations):
        return _dilated(call, x, window)
    if any(pad for pad in window.pads) and _reach_padding_only(window):
        x, window = _filled(call, x, window, float("-inf"))
    return _pooled(call, "max_pool", x, window)


@rule("AveragePool", f"{_WINDOW} count_include_pad")
def average_pool(call: Call) -> Tensor:
    """Y = the mean of each window; pads count as zeros, or not at all."""
    window = _pool_window(call)
    overhang = _overhang(call, window)
    if any(overhang) or any(item > 1 for item in window.dilations):
        return _divided(call, window, overhang)
    include = bool(call.integer("count_include_pad", 0))
    return _pooled(call, "avg_pool", call.x, window, exclude_padding_from_average=not include)


@rule("LpPool", f"{_WINDOW} p")
def lp_pool(call: Call) -> Tensor:
    """Y = (sum of |X|^p over each window)^(1/p)."""
    power = call.integer("p", 2)
    window = _pool_window(call)
    f = Formula(call)
    powers = f.abs(call.x) if power == 1 else f.binary("pow", f.abs(call.x), float(power))
    overhang = _overhang(call, window)
    wide, window = _widened(call, powers, window, overhang=overhang, value=0.0)
    total = f.mul(_mean(call, wide, window), float(np.prod(window.sizes)))
    return total if power == 1 else f.binary("pow", total, 1 / power)


def _pool_window(call: Call) -> Window:
    return Window(call, call.ints("kernel_shape", ()))


def _overhang(call: Call, window: Window) -> list[int]:
    """How far the last window of each dim stands out beyond the end pad (ceil_mode)."""
    count = len(window.sizes)
    if not call.integer("ceil_mode", 0):
        return [0] * count
    found = []
    for i, (size, made) in enumerate(zip(call.x.sizes[2:], call.out.sizes[2:], strict=True)):
        end = (made - 1) * window.strides[i] + window.reach[i]
        found.append(max(end - (size + window.pads[i] + window.pads[i + count]), 0))
    return found


def _padded(call: Call, window: Window, value: float) -> tuple[Tensor, Window]:
    """The operand with whatever ceil_mode lets windows stand out added as pad."""
    overhang = _overhang(call, window)
    if not any(overhang):
        return call.x, window
    return _widened(call, call.x, window, overhang=overhang, value=value)


def _widened(
    call: Call, x: Tensor, window: Window, *, overhang: list[int], value: float
) -> tuple[Tensor, Window]:
    """All pads written out, so that the windows need none."""
    count = len(window.sizes)
    pads = [item for i in range(count) for item in (window.pads[i], window.pads[i + count] + overhang[i])]
    window.pads = [0] * (2 * count)
    if not any(pads):
        return x, window
    size = [dim + pads[2 * i] + pads[2 * i + 1] for i, dim in enumerate(x.sizes[2:])]
    wide = call.add("pad", (*x.shape[:2], *size), x=x, pad=pads, mode="constant", constant_val=value)
    return wide, window


def _filled(call: Call, x: Tensor, window: Window, value: float) -> tuple[Tensor, Window]:
    return _widened(call, x, window, overhang=[0] * len(window.sizes), value=value)


def _reach_padding_only(window: Window) -> bool:
    """Whether some window may lie in the padding alone."""
    count = len(window.sizes)
    return any(
        window.pads[i] >= window.reach[i] or window.pads[i + count] >= window.reach[i] for i in range(count)
    )


def _pooled(call: Call, code: str, x: Tensor, window: Window, **more: Any) -> Tensor:
    size = call.out.shape
    return call.add(
        code,
        size,
        x=x,
        kernel_sizes=window.sizes,
        strides=window.strides,
        pad_type="custom",
        pad=window.interleaved_pads(),
        ceil_mode=False,
        **more,
    )


def _divided(call: Call, window: Window, overhang: list[int]) -> Tensor:
    """ceil_mode's last windows: sums over the written-out pads, by how many values each window counts."""
    count = len(window.sizes)
    include = bool(call.integer("count_include_pad", 0))
    counted = []
    for i, (size, made) in enumerate(zip(call.x.sizes[2:], call.out.sizes[2:], strict=True)):
        low = -window.pads[i] if include else 0
        high = size + window.pads[i + count] if include else size
        begins = np.arange(made) * window.strides[i] - window.pads[i]
        places = begins[:, None] + np.arange(window.sizes[i]) * window.dilations[i]
        counted.append(((places >= low) & (places < high)).sum(1).astype(np.float32))
    shares = counted[0]
    for item in counted[1:]:
        shares = np.multiply.outer(shares, item)
    factor = (np.float32(np.prod(window.sizes)) / shares).astype(np.float32)
    wide, window = _widened(call, call.x, window, overhang=overhang, value=0.0)
    return Formula(call).mul(_mean(call, wide, window), constant(factor))


def _mean(call: Call, x: Tensor, window: Window) -> Tensor:
    """The mean of windows without pads; dilated ones as a convolution of each channel alone."""
    if all(item == 1 for item in window.dilations):
        return _pooled(call, "avg_pool", x, window, exclude_padding_from_average=False)
    channels, count = x.sizes[1], int(np.prod(window.sizes))
    weight = constant(np.full((channels, 1, *window.sizes), 1 / count, np.float32))
    return call.emit(
        "conv",
        x=x,
        weight=weight,
        strides=window.strides,
        pad_type="valid",
        dilations=window.dilations,
        groups=channels,
    )


def _dilated(call: Call, x: Tensor, window: Window) -> Tensor:
    """A dilated window: the largest of the shifted, strided slices, one for each of its places."""
    wide, window = _widened(call, x, window, overhang=[0] * len(window.sizes), value=float("-inf"))
    places = list(np.ndindex(*window.sizes))
    call.require(
        len(places) <= _MOST_PLACES, f"a dilated window of {len(places)} places is too large to write out"
    )
    f, made = Formula(call), None
    for place in places:
        begin = [0, 0, *(p * d for p, d in zip(place, window.dilations, strict=True))]
        spans = [(n - 1) * s + 1 for n, s in zip(call.out.sizes[2:], window.strides, strict=True)]
        end = [0, 0, *(b + span for b, span in zip(begin[2:], spans, strict=True))]
        masks = [i < 2 for i in range(len(begin))]
        piece = call.add(
            "slice_by_index",
            call.out.shape,
            x=wide,
            begin=begin,
            end=end,
            stride=[1, 1, *window.strides],
            begin_mask=masks,
            end_mask=masks,
        )
        made = piece if made is None else f.maximum(made, piece)
    assert made is not None
    return made
