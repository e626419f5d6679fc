"""Pools on channels-last data; 3-D ones are done two dims first, then the depth."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import ROUNDED, Tensor, constant, int32s
from edgekit.targets.litert.window import Window, is_same, pad_spatial, read_window

if TYPE_CHECKING:
    from collections.abc import Callable

    Stage = Callable[[Tensor, Window], Tensor]

_LOWEST = float(np.finfo(np.float32).min)


def _window(call: Call) -> Window:
    return read_window(call, call.ints("kernel_shape", []), call.x.shape[1:-1], call.out.shape[1:-1])


def _in_two_dims(call: Call, x: Tensor, window: Window, stage: Stage) -> Tensor:
    """Run a 2-D stage on 1-D data (height 1), 2-D data, or 3-D data (planes first, then depths)."""
    batch, *sizes, channels = x.shape
    if len(sizes) == 2:
        return stage(x, window)
    if len(sizes) == 1:
        made = stage(call.reshape(x, (batch, 1, *sizes, channels)), window.widened())
        return call.reshape(made, (batch, made.shape[2], channels))
    call.require(len(sizes) == 3, f"LiteRT has no {len(sizes)}-D pool")
    planes = call.reshape(x, (batch * sizes[0], *sizes[1:], channels))
    made = stage(planes, window.part(1, 3))
    height, width = made.shape[1:3]
    depths = call.reshape(made, (batch, sizes[0], height * width, channels))
    made = stage(depths, window.part(0, 1).beside_one())
    return call.reshape(made, (batch, made.shape[1], height, width, channels))


def _shape(x: Tensor, window: Window, padding: str = "VALID") -> tuple[int, ...]:
    sizes = [
        -(-n // s) if padding == "SAME" else (n - e) // s + 1
        for n, e, s in zip(x.shape[1:-1], window.extents, window.strides, strict=True)
    ]
    return (x.shape[0], *sizes, x.shape[-1])


def _pool(call: Call, code: str, x: Tensor, window: Window, *, padding: str) -> Tensor:
    """The operator; its result's shape follows from the window."""
    return call.add(
        code,
        [x],
        _shape(x, window, padding),
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )


def _folded(call: Call, code: str, x: Tensor, window: Window) -> Tensor:
    """A dilated window: the kernel's shifted views of the padded data, folded by MAXIMUM or ADD."""
    shape = _shape(x, window)
    found: Tensor | None = None
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            begin = (0, row * window.dilations[0], column * window.dilations[1], 0)
            ends = [
                b + (n - 1) * s + 1 for b, n, s in zip(begin[1:3], shape[1:3], window.strides, strict=True)
            ]
            inputs = [
                x,
                int32s(begin),
                int32s((x.shape[0], *ends, x.shape[3])),
                int32s((1, *window.strides, 1)),
            ]
            view = call.add("STRIDED_SLICE", inputs, shape)
            found = view if found is None else call.add(code, [found, view], shape)
    assert found is not None
    return found


@rule("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads storage_order strides")
def max_pool(call: Call) -> Tensor:
    """Y = MaxPool(X); what lies outside the data never wins."""
    call.require(call.kept == (0,), "LiteRT's MAX_POOL_2D gives no indices")
    call.require(call.x.dtype in ("float32", *ROUNDED), f"LiteRT's MAX_POOL_2D takes no {call.x.dtype}")

    def stage(x: Tensor, window: Window) -> Tensor:
        dilated = any(d > 1 for d in window.dilations)
        if window.is_padded and is_same(window, x.shape[1:-1]) and not dilated:
            return _pool(call, "MAX_POOL_2D", x, window, padding="SAME")
        if window.is_padded:
            x = pad_spatial(call, x, window, value=_LOWEST)
        if dilated:
            return _folded(call, "MAXIMUM", x, window)
        return _pool(call, "MAX_POOL_2D", x, window, padding="VALID")

    return _in_two_dims(call, call.x, _window(call), stage)


def _sums(call: Call, x: Tensor, window: Window) -> Tensor:
    """The sum over each window of the zero-padded data, as a mean times the kernel's size."""
    padded = pad_spatial(call, x, window) if window.is_padded else x
    if any(d > 1 for d in window.dilations):
        return _folded(call, "ADD", padded, window)
    mean = _pool(call, "AVERAGE_POOL_2D", padded, window, padding="VALID")
    return call.add("MUL", [mean, call.scalar(float(np.prod(window.kernel)), mean)], mean.shape)


@rule("AveragePool", "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides")
def average_pool(call: Call) -> Tensor:
    """Y = AveragePool(X); LiteRT's SAME leaves padding out of the count, as ONNX does by default."""
    window, x = _window(call), call.x
    plain = all(d == 1 for d in window.dilations)
    if plain and (
        not window.is_padded or (not call.integer("count_include_pad", 0) and is_same(window, x.shape[1:-1]))
    ):
        return _in_two_dims(
            call,
            x,
            window,
            lambda data, part: _pool(
                call, "AVERAGE_POOL_2D", data, part, padding="SAME" if part.is_padded else "VALID"
            ),
        )
    call.require(x.dtype == "float32", "this padding of an int8 average has no LiteRT form")
    total = _in_two_dims(call, x, window, lambda data, part: _sums(call, data, part))
    return call.emit("MUL", [total, constant((1 / _counts(call, window)).astype(np.float32))])


def _counts(call: Call, window: Window) -> np.ndarray:
    """How many elements ONNX divides by, for each output position: [1, *spatial, 1]."""
    spatial = len(window.kernel)
    given = call.ints("pads", [0] * (2 * spatial)) if call.text("auto_pad", "NOTSET") == "NOTSET" else None
    counts = np.ones((1,) * (spatial + 2), np.float64)
    for axis in range(spatial):
        size, (low, high) = call.x.shape[1 + axis], window.pads[axis]
        begin, end = 0, size
        if call.integer("count_include_pad", 0):
            # What ceil_mode reaches beyond the given pads never counts.
            begin, end = -low, size + (high if given is None else given[spatial + axis])
        starts = np.arange(call.out.shape[1 + axis]) * window.strides[axis] - low
        cells = starts[:, None] + np.arange(window.kernel[axis]) * window.dilations[axis]
        found = ((cells >= begin) & (cells < end)).sum(1)
        counts = counts * found.reshape([-1 if i == 1 + axis else 1 for i in range(spatial + 2)])
    return counts


@rule("GlobalAveragePool")
def global_average_pool(call: Call) -> Tensor:
    """Y = mean of X over its spatial dims; MEAN takes free scales in int8."""
    return call.emit("MEAN", [call.x, int32s(range(1, call.x.rank - 1))], keepDims=True)


@rule("GlobalMaxPool")
def global_max_pool(call: Call) -> Tensor:
    """Y = maximum of X over its spatial dims."""
    return call.emit("REDUCE_MAX", [call.x, int32s(range(1, call.x.rank - 1))], keepDims=True)


@rule("GlobalLpPool", "p")
def global_lp_pool(call: Call) -> Tensor:
    """Y = (sum |X|^p)^(1/p) over the spatial dims."""
    power = call.integer("p", 2)
    terms = _raised(call, Formula(call).abs(call.x), float(power))
    total = call.add("SUM", [terms, int32s(range(1, call.x.rank - 1))], call.out.shape, keepDims=True)
    return _raised(call, total, 1 / power)


@rule("LpPool", "auto_pad ceil_mode dilations kernel_shape p pads strides")
def lp_pool(call: Call) -> Tensor:
    """Y = (sum |X|^p)^(1/p) over each window."""
    power = call.integer("p", 2)
    f = Formula(call)
    terms = _raised(call, f.abs(call.x), float(power))
    total = _in_two_dims(call, terms, _window(call), lambda data, part: _sums(call, data, part))
    return _raised(call, total, 1 / power)


def _raised(call: Call, x: Tensor, power: float) -> Tensor:
    """x ^ power for x >= 0."""
    codes = {1.0: "", 2.0: "SQUARE", 0.5: "SQRT"}
    if power in codes:
        return call.add(codes[power], [x], x.shape) if codes[power] else x
    return call.add("POW", [x, call.scalar(power, x)], x.shape)
