"""Ops that pick by index."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.reduce import one_hot

if TYPE_CHECKING:
    from numpy.typing import NDArray


def _from_zero(call: Call, indices: Tensor, size: int) -> Tensor:
    """Indices as int32, negative ones counted from the end."""
    if indices.data is not None:
        values = indices.data.astype(np.int64)
        call.require(np.all((values >= -size) & (values < size)), "an index is out of range")
        return constant(np.where(values < 0, values + size, values).astype(np.int32))
    whole = call.cast(indices, "int32")
    below = call.add("LESS", [whole, call.scalar(0, whole)], whole.shape, like=Tensor(whole.shape, "bool"))
    moved = call.add("ADD", [whole, call.scalar(size, whole)], whole.shape)
    return call.add("SELECT_V2", [below, moved, whole], whole.shape, like=whole)


@rule("Gather", "axis")
def gather(call: Call) -> Tensor:
    """Y = X's entries at the indices along the axis."""
    axis = call.integer("axis", 0) % call.x.rank
    return call.emit("GATHER", [call.x, _from_zero(call, call.operand(1), call.x.shape[axis])], axis=axis)


@rule("GatherElements", "axis")
def gather_elements(call: Call) -> Tensor:
    """Y[i, j] = X[i, indices[i, j]] along the axis: constant indices become full coordinates."""
    axis = call.integer("axis", 0) % call.x.rank
    indices = call.array(1).astype(np.int64)
    places: list[NDArray[np.int64]] = list(np.indices(indices.shape))
    places[axis] = np.where(indices < 0, indices + call.x.shape[axis], indices)
    return call.emit("GATHER_ND", [call.x, constant(np.stack(places, -1).astype(np.int32))])


@rule("GatherND", "batch_dims")
def gather_nd(call: Call) -> Tensor:
    """Y = X's slices at constant coordinates; batch dims become coordinates too."""
    indices = call.array(1).astype(np.int64)
    batch = call.integer("batch_dims", 0)
    depth = indices.shape[-1]
    sizes = np.array(call.x.shape[batch : batch + depth])
    indices = np.where(indices < 0, indices + sizes, indices)
    grids = np.indices(indices.shape[:-1])[:batch]
    places = np.concatenate([np.moveaxis(grids, 0, -1), indices], -1) if batch else indices
    return call.emit("GATHER_ND", [call.x, constant(places.astype(np.int32))])


@rule("OneHot", "axis")
def onehot(call: Call) -> Tensor:
    """Y = on where the axis's position is the index, else off; depth and values are constants."""
    call.require(
        call.integer("axis", -1) in (-1, call.x.rank), "an axis other than the last has no LiteRT form"
    )
    depth = int(call.array(1).reshape(-1)[0])
    off, on = (float(value) for value in call.array(2).reshape(-1))
    call.require((off, on) == (0.0, 1.0) and call.out.dtype == "float32", "values other than 0.0 and 1.0")
    call.require(call.x.dtype in ("int32", "int64"), f"LiteRT takes no {call.x.dtype} as an index")
    return one_hot(call, _wrapped(call, depth), depth)


def _wrapped(call: Call, depth: int) -> Tensor:
    """Negative indices count from the end; those out of range hit nothing."""
    whole = call.cast(call.x, "int32")
    below = call.add("LESS", [whole, call.scalar(0, whole)], whole.shape, like=Tensor(whole.shape, "bool"))
    moved = call.add("ADD", [whole, call.scalar(depth, whole)], whole.shape)
    return call.add("SELECT_V2", [below, moved, whole], whole.shape, like=whole)
