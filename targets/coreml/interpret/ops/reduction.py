"""Reductions over some axes; None means all of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray


def _reduction(formula: Callable[..., Array]) -> Any:
    """`formula(x, axis=..., keepdims=...)` with MIL's parameter names."""

    def reduce(x: Array, *, axes: Sequence[int] | None = None, keep_dims: bool = False) -> Array:
        return formula(x, axis=None if axes is None else tuple(axes), keepdims=keep_dims)

    return reduce


def _index(formula: Callable[..., Array]) -> Any:
    def find(x: Array, *, axis: int = -1, keep_dims: bool = False, output_dtype: str = "int32") -> Array:
        del output_dtype
        return formula(x, axis=axis, keepdims=keep_dims)

    return find


def _l1(x: Array, **where: Any) -> Array:
    return np.asarray(np.sum(np.abs(x), **where))


def _l2(x: Array, **where: Any) -> Array:
    return np.asarray(np.sqrt(np.sum(np.square(x), **where)))


def _log_sum(x: Array, **where: Any) -> Array:
    return np.asarray(np.log(np.sum(x, **where)))


def _log_sum_exp(x: Array, *, axis: tuple[int, ...] | None, keepdims: bool) -> Array:
    peak = np.max(x, axis=axis, keepdims=True)
    total = np.log(np.sum(np.exp(x - peak), axis=axis, keepdims=True)) + peak
    return np.asarray(total if keepdims else np.squeeze(total, axis=axis))


def _sum_square(x: Array, **where: Any) -> Array:
    return np.asarray(np.sum(np.square(x), **where))


def _cumsum(x: Array, *, axis: int = 0, exclusive: bool = False, reverse: bool = False) -> Array:
    """Running sums along the axis; exclusive ones begin with 0, reversed ones at the end."""
    turned = np.flip(x, axis) if reverse else x
    sums: Array = np.cumsum(turned, axis=axis, dtype=x.dtype)
    if exclusive:
        sums = _shifted(sums, axis)
    return np.flip(sums, axis) if reverse else sums


def _shifted(sums: Array, axis: int) -> Array:
    """One place on, with a 0 in front: no difference of large numbers is taken."""
    first = np.zeros_like(np.take(sums, [0], axis))
    return np.concatenate([first, np.take(sums, range(sums.shape[axis] - 1), axis)], axis)


COMPUTES: dict[str, Any] = {
    "cumsum": _cumsum,
    "reduce_argmax": _index(np.argmax),
    "reduce_argmin": _index(np.argmin),
    "reduce_l1_norm": _reduction(_l1),
    "reduce_l2_norm": _reduction(_l2),
    "reduce_log_sum": _reduction(_log_sum),
    "reduce_log_sum_exp": _reduction(_log_sum_exp),
    "reduce_max": _reduction(np.max),
    "reduce_mean": _reduction(np.mean),
    "reduce_min": _reduction(np.min),
    "reduce_prod": _reduction(np.prod),
    "reduce_sum": _reduction(np.sum),
    "reduce_sum_square": _reduction(_sum_square),
}
