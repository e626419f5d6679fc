"""Picking and placing by index: Gather, Scatter, OneHot."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant
from edgekit.targets.coreml.rules.probed import picked, weighed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@rule("Gather", "axis")
def gather(call: Call) -> Tensor:
    """Y = X's slices at the indices, along one axis."""
    axis = call.axis(0)
    indices = call.operand(1)
    if indices.rank == 0 and indices.array is not None:
        return _one_slice(call, axis, int(indices.array))
    places = _from_front(call, indices, call.x.shape[axis])
    return _as_numbers(
        call, lambda x: call.add("gather", call.out.shape, x=x, indices=places, axis=axis, batch_dims=0)
    )


def _one_slice(call: Call, axis: int, index: int) -> Tensor:
    """x[..., index, ...], the axis gone."""
    size = call.x.shape[axis]
    index = index + size if index < 0 and isinstance(size, int) else index
    masks = [i != axis for i in range(call.x.rank)]
    begin = [0 if mask else index for mask in masks]
    end = [0 if mask else index + 1 for mask in masks]
    return call.emit(
        "slice_by_index",
        x=call.x,
        begin=begin,
        end=end,
        begin_mask=masks,
        end_mask=masks,
        squeeze_mask=[not mask for mask in masks],
    )


def _from_front(call: Call, indices: Tensor, size: int | str) -> Tensor:
    """Indices counted from the front: Core ML takes negative ones for out of range."""
    if indices.array is not None:
        array = indices.array
        if not np.any(array < 0):
            return indices
        call.require(isinstance(size, int), "a negative index into a dim that only the run knows")
        return constant(np.where(array < 0, array + int(size), array).astype(np.int32))
    call.require(isinstance(size, int), "a computed index into a dim that only the run knows")
    f = Formula(call)
    return f.select(f.binary("less", indices, 0, "bool"), f.add(indices, int(size)), indices)


def _as_numbers(call: Call, make: Callable[[Tensor], Tensor]) -> Tensor:
    """MIL gathers no bool: they travel as int32."""
    if call.x.dtype != "bool":
        return make(call.x)
    made = make(call.cast(call.x, "int32"))
    return call.cast(made, "bool")


def _spans(indices: Tensor, x: Tensor, axis: int) -> bool:
    """Whether the indices have x's size on every other axis."""
    pairs = enumerate(zip(indices.shape, x.shape, strict=True))
    return all(have == want for i, (have, want) in pairs if i != axis)


@rule("GatherElements", "axis")
def gather_elements(call: Call) -> Tensor:
    """Y[i, j] = X[indices[i, j], j] for axis 0."""
    axis = call.axis(0)
    places = _from_front(call, call.operand(1), call.x.shape[axis])
    if not _spans(places, call.x, axis):
        return picked(call)
    return _as_numbers(
        call, lambda x: call.add("gather_along_axis", call.out.shape, x=x, indices=places, axis=axis)
    )


def _tuples_from_front(call: Call, places: Tensor, sizes: Sequence[int]) -> Tensor:
    """Index tuples (along the last axis) into dims of these sizes, counted from the front."""
    limits = np.asarray(sizes, np.int32)
    if places.array is not None:
        return constant(np.where(places.array < 0, places.array + limits, places.array).astype(np.int32))
    f, indices = Formula(call), call.cast(places, "int32")
    return f.select(f.binary("less", indices, 0, "bool"), f.add(indices, constant(limits)), indices)


@rule("GatherND", "batch_dims")
def gather_nd(call: Call) -> Tensor:
    """Y = X's slices at index tuples."""
    places = call.operand(1)
    batch = call.integer("batch_dims", 0)
    front = _tuples_from_front(call, places, call.x.sizes[batch : batch + places.fixed(places.rank - 1)])
    if batch == 0:
        return _as_numbers(
            call, lambda x: call.add("gather_nd", call.out.shape, x=x, indices=front, batch_dims=0)
        )
    call.require_level(16, "GatherND with batch_dims")
    return _as_numbers(
        call, lambda x: call.add("gather_nd", call.out.shape, x=x, indices=front, batch_dims=batch)
    )


_MODES = {"none": "update", "add": "add", "mul": "mul", "max": "max", "min": "min"}


@rule("ScatterElements", "axis reduction")
def scatter_elements(call: Call) -> Tensor:
    """Y = X with updates put in (or joined) at indices along the axis."""
    axis = call.axis(0)
    places = _from_front(call, call.operand(1), call.x.shape[axis])
    updates = call.operand(2)
    call.require(_spans(places, call.x, axis), "its indices cover only a part of the other axes")
    mode = call.text("reduction", "none")
    call.require(mode in _MODES, f"reduction '{mode}' has no Core ML form")
    return call.emit(
        "scatter_along_axis", data=call.x, indices=places, updates=updates, axis=axis, mode=_MODES[mode]
    )


@rule("ScatterND", "reduction")
def scatter_nd(call: Call) -> Tensor:
    """Y = X with updates put in (or joined) at index tuples."""
    places = call.operand(1)
    front = _tuples_from_front(call, places, call.x.sizes[: places.fixed(places.rank - 1)])
    mode = call.text("reduction", "none")
    call.require(mode in _MODES, f"reduction '{mode}' has no Core ML form")
    return call.emit("scatter_nd", data=call.x, indices=front, updates=call.operand(2), mode=_MODES[mode])


@rule("OneHot", "axis")
def one_hot(call: Call) -> Tensor:
    """Y = on where the new axis's position is the index, else off."""
    depth = int(call.array(1).reshape(-1)[0])
    off, on = _two_values(call, call.operand(2))
    axis = call.integer("axis", -1) % (call.x.rank + 1)
    f = Formula(call)
    indices = call.cast(call.x, "int32")
    wide = call.reshape(indices, (*indices.shape[:axis], 1, *indices.shape[axis:]))
    front = f.select(f.binary("less", wide, 0, "bool"), f.add(wide, depth), wide)
    positions = np.arange(depth, dtype=np.int32).reshape(
        [depth if i == axis else 1 for i in range(wide.rank)]
    )
    return f.select(f.equal(front, constant(positions)), on, off)


def _two_values(call: Call, pair: Tensor) -> tuple[Tensor, Tensor]:
    """The entries of a tensor of two, as scalars."""
    if pair.data is not None:
        first, second = (constant(np.asarray(value)) for value in pair.data)
        return first, second
    first, second = (call.slice(pair, 0, place, place + 1) for place in range(2))
    return call.add("squeeze", (), x=first, axes=[0]), call.add("squeeze", (), x=second, axes=[0])


@rule("GridSample", "align_corners mode padding_mode")
def grid_sample(call: Call) -> Tensor:
    """Y = X sampled bilinearly at computed positions in [-1, 1]."""
    mode, pads = call.text("mode", "linear"), call.text("padding_mode", "zeros")
    bilinear = call.x.rank == 4 and mode in ("linear", "bilinear")
    if not bilinear or pads not in ("zeros", "border"):
        return weighed(call)
    return call.emit(
        "resample",
        x=call.x,
        coordinates=call.operand(1),
        sampling_mode="bilinear",
        padding_mode="constant" if pads == "zeros" else "border",
        padding_value=0.0,
        coordinates_mode="normalized_minus_one_to_one",
        align_corners=bool(call.integer("align_corners", 0)),
    )
