"""Operations that move values and compute none: shapes, slices, joins, pads, fills."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray
_PAD_MODES = {"reflect": "reflect", "replicate": "edge"}


def _expand_dims(x: Array, *, axes: Sequence[int]) -> Array:
    return np.expand_dims(x, tuple(axes))


def _squeeze(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    """Axes whose size is not 1 stay, as in PyTorch."""
    chosen = range(x.ndim) if axes is None else {axis % x.ndim for axis in axes}
    return np.squeeze(x, axis=tuple(axis for axis in chosen if x.shape[axis] == 1))


def _reshape(x: Array, *, shape: Sequence[int]) -> Array:
    """0 keeps a dim where the ranks agree, -1 takes what is left."""
    if 0 in shape and x.size:
        if len(shape) != x.ndim:
            raise ValueError(f"shape {list(shape)} has a 0 and another rank than {list(x.shape)}")
        shape = [size or kept for size, kept in zip(shape, x.shape, strict=True)]
    return x.reshape(shape)


def _reshape_like(
    x: Array,
    ref_tensors: list[Array],
    *,
    begins: Sequence[int],
    ends: Sequence[int],
    end_masks: Sequence[bool],
) -> Array:
    """The joined dims [begin, end) of every reference."""
    shape: list[int] = []
    for tensor, begin, end, to_end in zip(ref_tensors, begins, ends, end_masks, strict=True):
        shape += tensor.shape[begin : None if to_end else end]
    return x.reshape(shape)


def _transpose(x: Array, *, perm: Sequence[int]) -> Array:
    return x.transpose(perm)


def _reverse(x: Array, *, axes: Sequence[int] | None = None) -> Array:
    return np.flip(x, axis=None if axes is None else tuple(axes))


def _reverse_sequence(x: Array, lengths: Array, *, seq_axis: int = 0, batch_axis: int = 0) -> Array:
    """Along seq_axis the first lengths[i] elements of entry i are turned round."""
    moved = np.moveaxis(x, (batch_axis, seq_axis), (0, 1)).copy()
    for entry, length in zip(moved, lengths.tolist(), strict=True):
        entry[:length] = entry[:length][::-1].copy()
    return np.moveaxis(moved, (0, 1), (batch_axis, seq_axis))


def slices(  # noqa: PLR0913 - MIL's parameters
    x: Array,
    begin: Sequence[int],
    end: Sequence[int],
    *,
    stride: Sequence[int] | None,
    begin_mask: Sequence[bool] | None,
    end_mask: Sequence[bool] | None,
    squeeze_mask: Sequence[bool] | None,
) -> tuple[slice | int, ...]:
    """numpy's index for MIL's slicing: a mask opens that end, squeeze_mask takes one element."""
    rank, no = x.ndim, [False] * x.ndim
    chosen: list[slice | int] = []
    rows = zip(
        begin,
        end,
        stride or [1] * rank,
        begin_mask or no,
        end_mask or no,
        squeeze_mask or no,
        strict=True,
    )
    for axis, (first, last, step, from_start, to_end, single) in enumerate(rows):
        if single:
            chosen.append(0 if from_start else first)
            continue
        # numpy reads a negative end as counted from the back; a stride of -1 with end -1 is an empty slice.
        if first < -x.shape[axis] or (step < 0 and last < -x.shape[axis] and not to_end):
            raise Unsupported(f"a bound beyond the front of axis {axis} is not documented")
        chosen.append(slice(None if from_start else first, None if to_end else last, step))
    if len(chosen) != rank:
        raise ValueError(f"{len(chosen)} bounds for rank {rank}")
    return tuple(chosen)


def _slice_by_index(  # noqa: PLR0913 - MIL's signature
    x: Array,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> Array:
    masks = {"begin_mask": begin_mask, "end_mask": end_mask, "squeeze_mask": squeeze_mask}
    return x[slices(x, begin, end, stride=stride, **masks)]


def _slice_update(  # noqa: PLR0913 - MIL's signature
    x: Array,
    update: Array,
    *,
    begin: Sequence[int],
    end: Sequence[int],
    stride: Sequence[int] | None = None,
    begin_mask: Sequence[bool] | None = None,
    end_mask: Sequence[bool] | None = None,
    squeeze_mask: Sequence[bool] | None = None,
) -> Array:
    """A copy of x whose slice is `update`; the shapes must be the same."""
    masks = {"begin_mask": begin_mask, "end_mask": end_mask, "squeeze_mask": squeeze_mask}
    where, made = slices(x, begin, end, stride=stride, **masks), x.copy()
    if made[where].shape != update.shape:
        raise ValueError(f"an update of {list(update.shape)} for a slice of {list(made[where].shape)}")
    made[where] = update
    return made


def _slice_by_size(x: Array, *, begin: Sequence[int], size: Sequence[int]) -> Array:
    """A size of -1 takes the rest."""
    starts = [first % length for first, length in zip(begin, x.shape, strict=True)]
    rows = list(zip(starts, size, strict=True))
    if any(
        first + count > length for (first, count), length in zip(rows, x.shape, strict=True) if count >= 0
    ):
        raise ValueError("the slice leaves the tensor")
    return x[tuple(slice(first, None if count == -1 else first + count) for first, count in rows)]


def _concat(values: list[Array], *, axis: int, interleave: bool = False) -> Array:
    """Scalars join to a vector; interleaved: element 0 of each, element 1 of each ..."""
    if values[0].ndim == 0:
        return np.stack(values)
    if not interleave:
        return np.concatenate(values, axis=axis)
    place = axis % values[0].ndim
    shape = list(values[0].shape)
    shape[place] *= len(values)
    return np.stack(values, axis=place + 1).reshape(shape)


def _stack(values: list[Array], *, axis: int) -> Array:
    return np.stack(values, axis=axis)


def _split(
    x: Array, *, axis: int, num_splits: int | None = None, split_sizes: Sequence[int] | None = None
) -> tuple[Array, ...]:
    if split_sizes is None:
        if not num_splits or x.shape[axis] % num_splits:
            raise ValueError(f"axis {axis} of {list(x.shape)} does not split into {num_splits} equal parts")
        split_sizes = [x.shape[axis] // num_splits] * num_splits
    if sum(split_sizes) != x.shape[axis] or num_splits not in (None, len(split_sizes)):
        raise ValueError(f"sizes {list(split_sizes)} do not fill axis {axis} of {list(x.shape)}")
    return tuple(np.split(x, np.cumsum(split_sizes)[:-1], axis=axis))


def _tile(x: Array, *, reps: Sequence[int]) -> Array:
    if len(reps) != x.ndim:
        raise ValueError(f"{len(reps)} reps for rank {x.ndim}")
    refuse_huge([size * times for size, times in zip(x.shape, reps, strict=True)])
    return np.tile(x, reps)


def _pad(x: Array, *, pad: Sequence[int], mode: str = "constant", constant_val: float = 0.0) -> Array:
    """`pad` holds (before, after) of the last dims."""
    pairs = list(zip(pad[::2], pad[1::2], strict=True))
    if len(pairs) > x.ndim:
        raise ValueError(f"pads {len(pairs)} dims of rank {x.ndim}")
    pairs = [(0, 0)] * (x.ndim - len(pairs)) + pairs
    refuse_huge([size + before + after for size, (before, after) in zip(x.shape, pairs, strict=True)])
    if mode == "constant":
        return np.pad(x, pairs, constant_values=constant_val)
    if mode not in _PAD_MODES:
        raise Unsupported(f"its mode '{mode}' has no meaning here")
    if mode == "reflect" and any(max(pair) >= size for size, pair in zip(x.shape, pairs, strict=True)):
        raise Unsupported("a reflection longer than its dim is not documented")
    return np.pad(x, pairs, mode="edge" if mode == "replicate" else "reflect")


def _crop(x: Array, *, crop_height: Sequence[int], crop_width: Sequence[int]) -> Array:
    (top, bottom), (left, right) = crop_height, crop_width
    return x[..., top : x.shape[-2] - bottom, left : x.shape[-1] - right]


def _flatten2d(x: Array, *, axis: int = 1) -> Array:
    return x.reshape(math.prod(x.shape[:axis]), math.prod(x.shape[axis:]))


def _shape(x: Array) -> Array:
    return np.array(x.shape, np.int32)


def _fill(value: Any = 0.0, *, shape: Sequence[int]) -> Array:
    refuse_huge(shape)
    return np.full(shape, value)


def _fill_like(ref_tensor: Array, value: Any = 0.0) -> Array:
    return np.full(ref_tensor.shape, value)


def _sliding_windows(x: Array, *, axis: int, size: int, stride: int = 1) -> Array:
    """A new axis of `size` behind `axis`, which counts the windows then."""
    place = axis % x.ndim
    view = np.lib.stride_tricks.sliding_window_view(x, size, axis=place)
    return np.moveaxis(view[(slice(None),) * place + (slice(None, None, stride),)], -1, place + 1)


def _band_part(x: Array, *, lower: int = -1, upper: int = -1) -> Array:
    """Zeros outside a band about the diagonal of the last two dims; a negative width keeps that side."""
    distance = np.arange(x.shape[-2])[:, None] - np.arange(x.shape[-1])
    band = ((lower < 0) | (distance <= lower)) & ((upper < 0) | (-distance <= upper))
    return np.where(band, x, np.zeros((), x.dtype))


def _space_to_batch(x: Array, *, block_shape: Sequence[int], paddings: Sequence[Sequence[int]]) -> Array:
    """TensorFlow's: the place in the block is the first part of the batch's number."""
    (high, wide), (rows, columns) = block_shape, paddings
    padded = np.pad(x, [(0, 0), (0, 0), tuple(rows), tuple(columns)])
    n, c, h, w = padded.shape
    blocks = padded.reshape(n, c, h // high, high, w // wide, wide).transpose(3, 5, 0, 1, 2, 4)
    return blocks.reshape(n * high * wide, c, h // high, w // wide)


def _batch_to_space(x: Array, *, block_shape: Sequence[int], crops: Sequence[Sequence[int]]) -> Array:
    """The way back from space_to_batch."""
    (high, wide), ((top, bottom), (left, right)) = block_shape, crops
    n, c, h, w = x.shape
    blocks = x.reshape(high, wide, n // (high * wide), c, h, w).transpose(2, 3, 4, 0, 5, 1)
    whole = blocks.reshape(n // (high * wide), c, h * high, w * wide)
    return whole[:, :, top : h * high - bottom, left : w * wide - right]


def _range(start: Array, end: Array, step: Array) -> Array:
    """As numpy's: `end` is not in it."""
    if not step:
        raise Unsupported("a range of step 0 has no end")
    refuse_huge([max(math.ceil((float(end) - float(start)) / float(step)), 0)])
    return np.arange(start.item(), end.item(), step.item(), dtype=start.dtype)


MOVES: dict[str, Any] = {
    "band_part": _band_part,
    "batch_to_space": _batch_to_space,
    "concat": _concat,
    "crop": _crop,
    "expand_dims": _expand_dims,
    "fill": _fill,
    "fill_like": _fill_like,
    "flatten2d": _flatten2d,
    "pad": _pad,
    "range_1d": _range,
    "reshape": _reshape,
    "reshape_like": _reshape_like,
    "reverse": _reverse,
    "reverse_sequence": _reverse_sequence,
    "shape": _shape,
    "slice_by_index": _slice_by_index,
    "slice_by_size": _slice_by_size,
    "slice_update": _slice_update,
    "sliding_windows": _sliding_windows,
    "space_to_batch": _space_to_batch,
    "split": _split,
    "squeeze": _squeeze,
    "stack": _stack,
    "tile": _tile,
    "transpose": _transpose,
}
