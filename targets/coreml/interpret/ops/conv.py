"""Convolution and transposed convolution over one to three spatial dims, as matrix products."""

from __future__ import annotations

import itertools
import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.activation import per_channel
from edgekit.targets.coreml.interpret.ops.window import pad_pairs, pad_spatial, spans, windows
from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray
# Elements of unfolded input held at a time.
_SCRATCH = 1 << 24


def conv(  # noqa: PLR0913 - MIL's signature
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    strides: Sequence[int] | None = None,
    pad_type: str = "valid",
    pad: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Array:
    """x [N, C, *D], weight [O, C / groups, *K], bias [O] -> [N, O, *out]."""
    dims = x.ndim - 2
    strides, dilations = strides or [1] * dims, dilations or [1] * dims
    kernel = weight.shape[2:]
    pairs = pad_pairs(pad_type, pad, x.shape[2:], spans(kernel, dilations), strides)
    view = windows(pad_spatial(x, pairs, 0), kernel, strides, dilations)
    if x.shape[1] != groups * weight.shape[1] or weight.shape[0] % groups:
        raise ValueError(f"{x.shape[1]} channels do not fit weights {list(weight.shape)} in {groups} groups")
    made = (
        _by_taps(view, weight) if weight.shape[1] == 1 and groups > 1 else _by_product(view, weight, groups)
    )
    return made if bias is None else made + per_channel(bias, made)


def _by_taps(view: Array, weight: Array) -> Array:
    """One input channel a group: a sum over the kernel's places. view [N, C, *out, *K], weight [O, 1, *K]."""
    dims = weight.ndim - 2
    repeats = weight.shape[0] // view.shape[1]
    made = np.zeros((view.shape[0], view.shape[1], repeats, *view.shape[2 : 2 + dims]), np.float32)
    factors = weight.reshape(view.shape[1], repeats, *weight.shape[2:])
    for place in itertools.product(*map(range, weight.shape[2:])):
        at: tuple[Any, ...] = (..., *place)
        factor = factors[at].reshape(1, *factors.shape[:2], *[1] * dims)
        made += view[at][:, :, None] * factor
    return made.reshape(view.shape[0], weight.shape[0], *made.shape[3:])


def _by_product(view: Array, weight: Array, groups: int) -> Array:
    """view [N, C, *out, *K] unfolded to columns, a slab of the first spatial dim at a time."""
    dims = weight.ndim - 2
    count, channels, out = view.shape[0], view.shape[1], view.shape[2 : 2 + dims]
    split = view.reshape(count, groups, channels // groups, *view.shape[2:]) if groups > 1 else view[:, None]
    order = (0, 1, 2, *range(3 + dims, 3 + 2 * dims), *range(3, 3 + dims))
    columns = split.transpose(order)
    matrix = weight.reshape(groups, weight.shape[0] // groups, -1)
    made = np.empty((count, groups, matrix.shape[1], *out), np.float32)
    row = math.prod(columns.shape) // max(out[0], 1)
    step = max(1, _SCRATCH // max(row, 1))
    for start in range(0, out[0], step):
        slab = columns[(slice(None),) * (3 + dims) + (slice(start, start + step),)]
        flat = np.ascontiguousarray(slab).reshape(count, groups, matrix.shape[2], -1)
        product = matrix @ flat
        made[:, :, :, start : start + step] = product.reshape(
            count, groups, matrix.shape[1], *slab.shape[3 + dims :]
        )
    return made.reshape(count, weight.shape[0], *out)


def conv_transpose(  # noqa: PLR0913 - MIL's signature
    x: Array,
    weight: Array,
    bias: Array | None = None,
    *,
    pad: Sequence[int] | None = None,
    output_shape: Sequence[int] | None = None,
    pad_type: str = "valid",
    strides: Sequence[int] | None = None,
    dilations: Sequence[int] | None = None,
    groups: int = 1,
) -> Array:
    """x [N, C, *D], weight [C, O / groups, *K], bias [O]: each input element adds its kernel."""
    dims = x.ndim - 2
    strides, dilations = strides or [1] * dims, dilations or [1] * dims
    full = _scatter(x, weight, groups, list(zip(strides, dilations, strict=True)))
    sizes = [size * stride for size, stride in zip(x.shape[2:], strides, strict=True)]
    wanted = list(output_shape[2:]) if output_shape is not None else None
    starts, out = _crops(pad_type, pad, full.shape[2:], wanted, sizes)
    refuse_huge([*full.shape[:2], *out])
    made = np.zeros((*full.shape[:2], *out), np.float32)
    kept = tuple(slice(start, start + size) for start, size in zip(starts, out, strict=True))
    part = full[(slice(None), slice(None), *kept)]
    made[(slice(None), slice(None), *(slice(0, size) for size in part.shape[2:]))] = part
    return made if bias is None else made + per_channel(bias, made)


def _scatter(x: Array, weight: Array, groups: int, steps: list[tuple[int, int]]) -> Array:
    """The whole overlap-added result, before any cropping; `steps` are (stride, dilation) of each dim."""
    count, channels, places = x.shape[0], x.shape[1], x.shape[2:]
    outputs, kernel = weight.shape[1], weight.shape[2:]
    if weight.shape[0] != channels or channels % groups:
        raise ValueError(f"{channels} channels do not fit weights {list(weight.shape)} in {groups} groups")
    matrix = weight.reshape(groups, channels // groups, -1).transpose(0, 2, 1)
    product = matrix @ x.reshape(count, groups, channels // groups, -1)
    taps = product.reshape(count, groups, outputs, *kernel, *places)
    whole = [
        (size - 1) * stride + (width - 1) * dilation + 1
        for size, width, (stride, dilation) in zip(places, kernel, steps, strict=True)
    ]
    full = np.zeros((count, groups, outputs, *whole), np.float32)
    for tap in itertools.product(*map(range, kernel)):
        reach = tuple(
            slice(at * dilation, at * dilation + (size - 1) * stride + 1, stride)
            for at, size, (stride, dilation) in zip(tap, places, steps, strict=True)
        )
        full[(slice(None), slice(None), slice(None), *reach)] += taps[(slice(None),) * 3 + tap]
    return full.reshape(count, groups * outputs, *whole)


def _crops(
    pad_type: str,
    pad: Sequence[int] | None,
    full: Sequence[int],
    wanted: Sequence[int] | None,
    same: Sequence[int],
) -> tuple[list[int], list[int]]:
    """(first kept place, size) of each spatial dim; an output beyond the whole result is zero there."""
    if pad_type == "custom":
        given = list(pad) if pad is not None else [0] * (2 * len(full))
        starts = given[::2]
        out = [size - before - after for size, before, after in zip(full, starts, given[1::2], strict=True)]
        return starts, list(wanted) if wanted is not None else out
    if pad_type == "valid":
        return [0] * len(full), list(wanted) if wanted is not None else list(full)
    if pad_type == "same":
        out = list(wanted) if wanted is not None else list(same)
        return [max(0, size - kept) // 2 for size, kept in zip(full, out, strict=True)], out
    raise Unsupported(f"its pad_type '{pad_type}' has no meaning here")


COMPUTES: dict[str, Any] = {"conv": conv, "conv_transpose": conv_transpose}
