"""Pooling over one to three spatial dims."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.window import Pairs, pad_pairs, pad_spatial, windows
from edgekit.targets.coreml.interpret.unsupported import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray


def _views(
    x: Array, kernel_sizes: Sequence[int], strides: Sequence[int] | None, *, pads: Pairs, fill: float
) -> Array:
    """[N, C, *out, *kernel] of x padded with `fill`."""
    dims = len(kernel_sizes)
    return windows(pad_spatial(x, pads, fill), kernel_sizes, strides or [1] * dims, [1] * dims)


def _pads(
    x: Array,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None,
    pad_type: str,
    pad: Sequence[int] | None,
) -> Pairs:
    return pad_pairs(pad_type, pad, x.shape[2:], kernel_sizes, strides or [1] * len(kernel_sizes))


def _refuse_ceil(ceil_mode: bool) -> None:
    if ceil_mode:
        raise Unsupported("ceil_mode leaves open what the windows beyond the pads hold")


def _kernel_axes(kernel_sizes: Sequence[int]) -> tuple[int, ...]:
    return tuple(range(-len(kernel_sizes), 0))


def _max_pool(  # noqa: PLR0913 - MIL's signature
    x: Array,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The largest value of each window; pads count as nothing."""
    _refuse_ceil(ceil_mode)
    pads = _pads(x, kernel_sizes, strides, pad_type, pad)
    view = _views(x, kernel_sizes, strides, pads=pads, fill=-math.inf)
    made: Array = np.max(view, axis=_kernel_axes(kernel_sizes))
    return made


def _avg_pool(  # noqa: PLR0913 - MIL's signature
    x: Array,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
    exclude_padding_from_average: bool = False,
) -> Array:
    """The mean of each window; pads are zeros that count, or do not."""
    _refuse_ceil(ceil_mode)
    pads, axes = _pads(x, kernel_sizes, strides, pad_type, pad), _kernel_axes(kernel_sizes)
    total: Array = np.sum(_views(x, kernel_sizes, strides, pads=pads, fill=0), axis=axes)
    if not exclude_padding_from_average:
        return total / np.float32(math.prod(kernel_sizes))
    inside = np.ones((1, 1, *x.shape[2:]), np.float32)
    count: Array = np.sum(_views(inside, kernel_sizes, strides, pads=pads, fill=0), axis=axes)
    return np.asarray(total / count)


def _l2_pool(  # noqa: PLR0913 - MIL's signature
    x: Array,
    *,
    kernel_sizes: Sequence[int],
    strides: Sequence[int] | None = None,
    pad_type: str,
    pad: Sequence[int] | None = None,
    ceil_mode: bool = False,
) -> Array:
    """The root of each window's sum of squares."""
    _refuse_ceil(ceil_mode)
    pads = _pads(x, kernel_sizes, strides, pad_type, pad)
    view = _views(np.square(x), kernel_sizes, strides, pads=pads, fill=0)
    made: Array = np.sqrt(np.sum(view, axis=_kernel_axes(kernel_sizes)))
    return made


COMPUTES: dict[str, Any] = {"avg_pool": _avg_pool, "l2_pool": _l2_pool, "max_pool": _max_pool}
