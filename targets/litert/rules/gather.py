"""Ops that pick by index."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.reduce import one_hot


def from_zero(call: Call, indices: Tensor, size: int) -> Tensor:
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
    return call.emit("GATHER", [call.x, from_zero(call, call.operand(1), call.x.shape[axis])], axis=axis)


@rule("OneHot", "axis")
def onehot(call: Call) -> Tensor:
    """Y = on where the axis's position is the index, else off; the depth is constant."""
    depth = int(call.array(1).reshape(-1)[0])
    call.require(call.out.dtype == "float32", f"it makes no {call.out.dtype} in LiteRT")
    axis = call.integer("axis", -1) % call.out.rank
    made, values = one_hot(call, _wrapped(call, depth), depth), call.operand(2)
    f = Formula(call)
    if values.data is None:
        off, on = (call.slice(values, (i,), (1,)) for i in range(2))
        made = f.add(f.mul(made, f.sub(on, off)), off)
    elif values.data.tolist() != [0.0, 1.0]:
        low, high = (float(value) for value in values.data.reshape(-1))
        made = f.add(f.mul(made, high - low), low)
    order = list(range(call.x.rank))
    order.insert(axis, call.x.rank)
    return call.transpose(made, order)


def _wrapped(call: Call, depth: int) -> Tensor:
    """Negative indices count from the end; those out of range hit nothing."""
    whole = call.cast(call.x, "int32")
    below = call.add("LESS", [whole, call.scalar(0, whole)], whole.shape, like=Tensor(whole.shape, "bool"))
    moved = call.add("ADD", [whole, call.scalar(depth, whole)], whole.shape)
    return call.add("SELECT_V2", [below, moved, whole], whole.shape, like=whole)
