"""Picking and placing by index, one-hot vectors, sorting."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

if TYPE_CHECKING:
    from collections.abc import Callable

Array = np.ndarray
Places = tuple[Any, ...]


def _whole(indices: Any, size: int) -> Array:
    """Indices counted from the front: iOS 17 takes a negative one for out of range, iOS 15 did not."""
    found = np.asarray(indices).astype(np.int64)
    if found.size and (found.min() < 0 or found.max() >= size):
        raise Unsupported(f"an index outside 0..{size - 1} has no defined result")
    return found


def _gather(
    x: Array, indices: Array, *, axis: int = 0, batch_dims: int = 0, validate_indices: bool = False
) -> Array:
    """x[..., indices, ...] along the axis."""
    del validate_indices
    if batch_dims:
        inner = axis % x.ndim - 1
        pairs = zip(x, indices, strict=True)
        return np.stack(
            [_gather(item, place, axis=inner, batch_dims=batch_dims - 1) for item, place in pairs]
        )
    return np.take(x, _whole(indices, x.shape[axis]), axis)


def _gather_along_axis(x: Array, indices: Array, *, axis: int = 0, validate_indices: bool = False) -> Array:
    """out[i, j] = x[indices[i, j], j] for axis 0."""
    del validate_indices
    return np.take_along_axis(x, _whole(indices, x.shape[axis]), axis)


def _gather_nd(x: Array, indices: Array, *, batch_dims: int = 0, validate_indices: bool = False) -> Array:
    """x at index tuples, which lie along the indices' last dim."""
    del validate_indices
    if batch_dims:
        pairs = zip(x, indices, strict=True)
        return np.stack([_gather_nd(item, places, batch_dims=batch_dims - 1) for item, places in pairs])
    found: Array = x[_tuples(x, indices)]
    return found


def _tuples(x: Array, indices: Array) -> Places:
    parts = np.moveaxis(np.asarray(indices), -1, 0)
    return tuple(_whole(part, size) for part, size in zip(parts, x.shape, strict=False))


_JOINED: dict[str, Callable[..., Any]] = {
    "add": np.add.at,
    "div": np.divide.at,
    "max": np.maximum.at,
    "min": np.minimum.at,
    "mul": np.multiply.at,
    "sub": np.subtract.at,
}


def _placed(data: Array, places: Places, updates: Array, mode: str) -> Array:
    """data with the updates put in, or joined; of equal places the last update stays."""
    made = data.copy()
    if mode == "update":
        made[places] = updates
    elif mode in _JOINED:
        _JOINED[mode](made, places, updates)
    else:
        raise Unsupported(f"its mode '{mode}' has no meaning here")
    return made


def _scatter_along_axis(  # noqa: PLR0913 - MIL's signature
    data: Array,
    indices: Array,
    updates: Array,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Array:
    """out[indices[i, j], j] = updates[i, j] for axis 0."""
    del validate_indices
    places: list[Any] = list(np.indices(indices.shape))
    places[axis] = _whole(indices, data.shape[axis])
    return _placed(data, tuple(places), updates, mode)


def _scatter_nd(
    data: Array, indices: Array, updates: Array, *, mode: str = "add", validate_indices: bool = False
) -> Array:
    """Updates at index tuples, which lie along the indices' last dim."""
    del validate_indices
    return _placed(data, _tuples(data, indices), updates, mode)


def _scatter(  # noqa: PLR0913 - MIL's signature
    data: Array,
    indices: Array,
    updates: Array,
    *,
    axis: int = 0,
    mode: str = "add",
    validate_indices: bool = False,
) -> Array:
    """Whole slices along the axis."""
    del validate_indices
    before = (slice(None),) * (axis % data.ndim)
    return _placed(data, (*before, _whole(indices, data.shape[axis])), updates, mode)


def _one_hot(
    indices: Array, one_hot_vector_size: Array, on_value: Any = 1, off_value: Any = 0, *, axis: int = -1
) -> Array:
    """on_value where the new axis's position is the index, else off_value."""
    place = axis % (indices.ndim + 1)
    size = int(one_hot_vector_size)
    shape = [size if i == place else 1 for i in range(indices.ndim + 1)]
    hit = np.expand_dims(indices, place) == np.arange(size).reshape(shape)
    chosen: Array = np.where(hit, on_value, off_value)
    return chosen


def _topk(  # noqa: PLR0913 - MIL's signature
    x: Array,
    *,
    k: int = 1,
    axis: int = -1,
    ascending: bool = False,
    sort: bool = True,
    return_indices: bool = True,
    output_indices_dtype: str = "int32",
) -> Array | tuple[Array, Array]:
    """The k largest (smallest) values along the axis, sorted, and where they are; of equals the first."""
    del output_indices_dtype
    if not sort:
        raise Unsupported("the order of unsorted results is not documented")
    count = x.shape[axis] if k == -1 else k
    order = np.argsort(x if ascending else -x.astype(np.float64), axis=axis, kind="stable")
    chosen = np.take(order, range(count), axis)
    values = np.take_along_axis(x, chosen, axis)
    return (values, chosen) if return_indices else values


def _argsort(x: Array, *, axis: int = -1, ascending: bool = False) -> Array:
    return np.argsort(x if ascending else -x.astype(np.float64), axis=axis, kind="stable")


def _non_zero(x: Array) -> Array:
    return np.argwhere(x)


MOVES: dict[str, Any] = {
    "argsort": _argsort,
    "gather": _gather,
    "gather_along_axis": _gather_along_axis,
    "gather_nd": _gather_nd,
    "non_zero": _non_zero,
    "one_hot": _one_hot,
    "topk": _topk,
}
# Sums of float16 are taken in float32 and rounded once.
COMPUTES: dict[str, Any] = {
    "scatter": _scatter,
    "scatter_along_axis": _scatter_along_axis,
    "scatter_nd": _scatter_nd,
}
