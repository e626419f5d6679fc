"""Pools on channels-last data."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, constant, int32s
from edgekit.targets.litert.window import Window, is_same, pad_spatial, read_window

_LOWEST = float(np.finfo(np.float32).min)


def _window(call: Call) -> tuple[Tensor, Window, tuple[int, ...]]:
    """(data, window, result shape) in two spatial dims; 1-D pools get a height of 1."""
    kernel = call.ints("kernel_shape", [])
    window = read_window(call, kernel, call.x.shape[1:-1], call.out.shape[1:-1])
    call.require(len(kernel) in (1, 2), f"LiteRT has no {len(kernel)}-D pool")
    if len(kernel) == 2:
        return call.x, window, call.out.shape
    shape = call.x.shape
    return (
        call.reshape(call.x, (shape[0], 1, *shape[1:])),
        window.widened(),
        (
            call.out.shape[0],
            1,
            *call.out.shape[1:],
        ),
    )


def _pool(call: Call, code: str, x: Tensor, window: Window, *, padding: str) -> Tensor:
    """The operator; its result's shape follows from the window."""
    call.require(all(d == 1 for d in window.dilations), "LiteRT's pools have no dilation")
    sizes = [
        -(-n // s) if padding == "SAME" else (n - k) // s + 1
        for n, k, s in zip(x.shape[1:-1], window.kernel, window.strides, strict=True)
    ]
    shape = (x.shape[0], *sizes, x.shape[-1])
    return call.add(
        code,
        [x],
        shape,
        padding=padding,
        strideH=window.strides[0],
        strideW=window.strides[1],
        filterHeight=window.kernel[0],
        filterWidth=window.kernel[1],
    )


@rule("MaxPool", "auto_pad ceil_mode dilations kernel_shape pads storage_order strides")
def max_pool(call: Call) -> Tensor:
    """Y = MaxPool(X); what lies outside the data never wins."""
    call.require(len(call.outs) == 1, "LiteRT's MAX_POOL_2D gives no indices")
    call.require(call.x.dtype in ("float32", "int8"), f"LiteRT's MAX_POOL_2D takes no {call.x.dtype}")
    x, window, shape = _window(call)
    padding = "VALID"
    if window.is_padded and is_same(window, x.shape[1:-1]):
        padding = "SAME"
    elif window.is_padded:
        x = pad_spatial(call, x, window, value=_LOWEST)
    if any(d > 1 for d in window.dilations):
        made = _dilated_max(call, x, window, shape) if padding == "VALID" else None
        if made is None:
            made = _dilated_max(call, pad_spatial(call, x, window, value=_LOWEST), window, shape)
    else:
        made = _pool(call, "MAX_POOL_2D", x, window, padding=padding)
    return call.reshape(made, call.out.shape)


def _dilated_max(call: Call, x: Tensor, window: Window, shape: tuple[int, ...]) -> Tensor:
    """The maximum over the kernel's shifted views of the data."""
    views = []
    for row in range(window.kernel[0]):
        for column in range(window.kernel[1]):
            begin = (0, row * window.dilations[0], column * window.dilations[1], 0)
            steps = (1, *window.strides, 1)
            sizes = shape[1:-1]
            ends = [b + (n - 1) * s + 1 for b, n, s in zip(begin[1:3], sizes, window.strides, strict=True)]
            end = (x.shape[0], *ends, x.shape[3])
            views.append(call.add("STRIDED_SLICE", [x, int32s(begin), int32s(end), int32s(steps)], shape))
    found = views[0]
    for view in views[1:]:
        found = call.add("MAXIMUM", [found, view], shape)
    return found


@rule("AveragePool", "auto_pad ceil_mode count_include_pad dilations kernel_shape pads strides")
def average_pool(call: Call) -> Tensor:
    """Y = AveragePool(X); LiteRT's SAME leaves padding out of the count, as ONNX does by default."""
    x, window, shape = _window(call)
    included = call.integer("count_include_pad", 0)
    if not window.is_padded:
        made = _pool(call, "AVERAGE_POOL_2D", x, window, padding="VALID")
    elif not included and is_same(window, x.shape[1:-1]):
        made = _pool(call, "AVERAGE_POOL_2D", x, window, padding="SAME")
    else:
        call.require(x.dtype == "float32", "this padding of an int8 average has no LiteRT form")
        counts = _counts(call, x, window, shape)
        made = _pool(call, "AVERAGE_POOL_2D", pad_spatial(call, x, window), window, padding="VALID")
        factors = np.float32(np.prod(window.kernel)) / counts
        if not np.all(factors == 1):
            made = call.add("MUL", [made, constant(factors.astype(np.float32))], shape)
    return call.reshape(made, call.out.shape)


def _counts(call: Call, x: Tensor, window: Window, shape: tuple[int, ...]) -> np.ndarray:
    """How many elements ONNX divides by, for each output position: [1, H, W, 1]."""
    given = call.ints("pads", [0] * 4) if call.text("auto_pad", "NOTSET") == "NOTSET" else None
    counts = np.ones((1, 1, 1, 1), np.float64)
    axes = len(call.x.shape) - 2
    for axis in range(2):
        size, (low, high) = x.shape[1 + axis], window.pads[axis]
        if given is not None and call.integer("count_include_pad", 0):
            own = axis - (2 - axes)
            high = given[axes + own] if own >= 0 else 0  # ceil_mode's extra cells never count
        begins = np.arange(shape[1 + axis]) * window.strides[axis] - low
        ends = begins + window.kernel[axis]
        if call.integer("count_include_pad", 0):
            found = np.minimum(ends, size + high) - begins
        else:
            found = np.minimum(ends, size) - np.maximum(begins, 0)
        target = [1, 1, 1, 1]
        target[1 + axis] = -1
        counts = counts * found.reshape(target)
    return counts


@rule("GlobalAveragePool")
def global_average_pool(call: Call) -> Tensor:
    """Y = mean of X over its spatial dims; MEAN takes free scales in int8."""
    return call.emit("MEAN", [call.x, int32s(range(1, call.x.rank - 1))], keepDims=True)


@rule("GlobalMaxPool")
def global_max_pool(call: Call) -> Tensor:
    """Y = maximum of X over its spatial dims."""
    return call.emit("REDUCE_MAX", [call.x, int32s(range(1, call.x.rank - 1))], keepDims=True)


@rule("LpPool", "auto_pad ceil_mode dilations kernel_shape p pads strides")
def lp_pool(call: Call) -> Tensor:
    """Y = (sum |X|^p)^(1/p) over each window: an average, times the window's size."""
    x, window, shape = _window(call)
    power = call.integer("p", 2)
    call.require(power in (1, 2), f"p = {power} has no LiteRT form", "use p = 1 or 2")
    raised = call.add("ABS" if power == 1 else "SQUARE", [x], x.shape)
    padded, padding = (pad_spatial(call, raised, window), "VALID") if window.is_padded else (raised, "VALID")
    mean = _pool(call, "AVERAGE_POOL_2D", padded, window, padding=padding)
    total = call.add("MUL", [mean, call.scalar(float(np.prod(window.kernel)), mean)], shape)
    made = total if power == 1 else call.add("SQRT", [total], shape)
    return call.reshape(made, call.out.shape)
