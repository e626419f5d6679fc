"""Gathers and scatters whose places are computed at run time; those with constant places are in probed.py."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, constant, int32s
from edgekit.targets.litert.rules.places import Places
from edgekit.targets.litert.rules.probed import picked, scattered_once

# Entries of the comparison of every place with every row; reductions without an operator need it.
_MOST_COMPARED = 2**20


def _strides(shape: tuple[int, ...]) -> list[int]:
    return [int(np.prod(shape[axis + 1 :], dtype=np.int64)) for axis in range(len(shape))]


def _taken(call: Call, x: Tensor, places: Tensor, shape: tuple[int, ...]) -> Tensor:
    """The values of `x`, seen in a row, at these places."""
    flat = call.reshape(x, (x.size,))
    return call.reshape(call.add("GATHER", [flat, places], places.shape, axis=0), shape)


def _element_places(call: Call, indices: Tensor, shape: tuple[int, ...], axis: int) -> Tensor:
    """Where each entry of `indices` (along the axis of `shape`) lies among all values in a row."""
    places, strides = Places(call), _strides(shape)
    grid = np.indices(indices.shape)
    base = sum(grid[i] * strides[i] for i in range(len(shape)) if i != axis)
    own = places.mul(places.wrapped(indices, shape[axis]), strides[axis])
    return places.add(own, np.broadcast_to(base, indices.shape))


@rule("GatherElements", "axis")
def gather_elements(call: Call) -> Tensor:
    """Y[i][j] = X[index[i][j]][j] for axis 0, and so on."""
    if call.operand(1).data is not None:
        return picked(call)
    axis = call.integer("axis", 0) % call.x.rank
    return _taken(call, call.x, _element_places(call, call.operand(1), call.x.shape, axis), call.out.shape)


@rule("GatherND", "batch_dims")
def gather_nd(call: Call) -> Tensor:
    """Y = X's slices at the tuples of the last dim of `indices`."""
    x, indices = call.x, call.operand(1)
    if indices.data is not None:
        return picked(call)
    batch = call.integer("batch_dims", 0)
    places, rows = _tuple_places(call, indices, x.shape[batch:])
    inner = x.shape[batch + indices.shape[-1] :]
    if batch:
        count = int(np.prod(x.shape[:batch]))
        base = np.arange(count).reshape(x.shape[:batch] + (1,) * (places.rank - batch)) * rows
        places = Places(call).add(places, np.broadcast_to(base, places.shape))
        rows *= count
    table = call.reshape(x, (rows, *inner))
    return call.reshape(call.add("GATHER", [table, places], (*places.shape, *inner), axis=0), call.out.shape)


def _tuple_places(call: Call, indices: Tensor, shape: tuple[int, ...]) -> tuple[Tensor, int]:
    """(rows that the tuples of the last dim name, how many rows there are)."""
    depth = indices.shape[-1]
    places, sizes = Places(call), np.array(shape[:depth])
    steps = np.array([int(np.prod(sizes[i + 1 :])) for i in range(depth)])
    wrapped = places.mul(places.wrapped(indices, sizes), steps)
    return places.total(wrapped, indices.rank - 1), int(np.prod(sizes))


@rule("ScatterElements", "axis reduction")
def scatter_elements(call: Call) -> Tensor:
    """Y = X with updates put in, added, multiplied or compared at single places along the axis."""
    if len(call.computed) == 1 and call.operand(1).data is not None:
        return scattered_once(call)
    axis = call.integer("axis", 0) % call.x.rank
    places = _element_places(call, call.operand(1), call.x.shape, axis)
    count = call.operand(2).size
    return _scattered(call, call.reshape(places, (count,)), (call.x.size, 1))


@rule("ScatterND", "reduction")
def scatter_nd(call: Call) -> Tensor:
    """Y = X with slices put in, added, multiplied or compared at the tuples of the indices."""
    indices = call.operand(1)
    if len(call.computed) == 1 and indices.data is not None and call.x_computed.size <= 4096:
        return scattered_once(call)
    places, rows = _tuple_places(call, indices, call.x.shape)
    return _scattered(call, call.reshape(places, (places.size,)), (rows, call.x.size // rows))


@rule("TensorScatter", "axis mode")
def tensor_scatter(call: Call) -> Tensor:
    """A cache with `update` written from each batch's write index on; circular: around the end."""
    if len(call.computed) == 1 and call.operand(0).data is None and call.operand(0).size <= 4096:
        return scattered_once(call)
    cache, update = call.x, call.operand(1)
    axis = call.integer("axis", -2) % cache.rank
    length, count = cache.shape[axis], update.shape[axis]
    places = Places(call)
    start = places.whole(call.operand(2) if call.has(2) else constant(np.zeros(cache.shape[0], np.int32)))
    written = places.add(call.reshape(start, (cache.shape[0], 1)), np.arange(count)[None])
    if call.text("mode", "linear") == "circular":
        written = places.mod(written, length)
    outer, inner = int(np.prod(cache.shape[1:axis])), int(np.prod(cache.shape[axis + 1 :]))
    base = np.arange(cache.shape[0] * outer).reshape(cache.shape[0], outer, 1) * length
    rows = places.add(call.reshape(written, (cache.shape[0], 1, count)), base)
    return _scattered(
        call, call.reshape(rows, (rows.size,)), (cache.shape[0] * outer * length, inner), update=update
    )


# Reduction -> the operators that join updates of one place, and the value that changes nothing.
_JOINING = {
    "max": ("REDUCE_MAX", "MAXIMUM", -np.inf),
    "min": ("REDUCE_MIN", "MINIMUM", np.inf),
    "mul": ("REDUCE_PROD", "MUL", 1.0),
}


def _scattered(call: Call, places: Tensor, table: tuple[int, int], *, update: Tensor | None = None) -> Tensor:
    """X, seen as [rows, width], with the updates [places, width] put in by the node's reduction."""
    call.require(call.x.dtype == "float32", f"LiteRT scatters into no {call.x.dtype} at run time")
    count, width = places.size, table[1]
    x = call.reshape(call.x, table)
    updates = call.reshape(update or call.operand(2), (count, width))
    reduction = call.text("reduction", "none")
    twice = places.data is not None and len(np.unique(places.data)) < count
    call.require(
        reduction != "none" or not twice,
        "a place is written twice, which ONNX leaves open",
        "write each place once, or name a reduction",
    )
    if reduction in _JOINING:
        made = _joined(call, x, places, updates, reduction=reduction)
    else:
        at = call.reshape(places, (count, 1))
        summed = call.add("SCATTER_ND", [at, updates, int32s(table)], table, like=x)
        made = _placed(call, x, at, summed) if reduction == "none" else call.add("ADD", [x, summed], table)
    return call.reshape(made, call.out.shape)


def _placed(call: Call, x: Tensor, at: Tensor, values: Tensor) -> Tensor:
    """The values where some place is written, else x; ONNX leaves places written twice open."""
    rows = x.shape[0]
    ones = constant(np.ones((at.shape[0], 1), np.float32))
    hits = call.add("SCATTER_ND", [at, ones, int32s((rows, 1))], (rows, 1), like=x)
    written = call.add("GREATER", [hits, call.scalar(0.0, hits)], hits.shape, like=Tensor((), "bool"))
    return call.add("SELECT_V2", [written, values, x], x.shape, like=x)


def _joined(call: Call, x: Tensor, places: Tensor, updates: Tensor, *, reduction: str) -> Tensor:
    """Every place compared with every row, the updates of one row reduced, then joined with x."""
    reducing, joining, neutral = _JOINING[reduction]
    (rows, width), count = x.shape, places.size
    call.require(
        rows * width * count <= _MOST_COMPARED,
        f"'{reduction}' of {count} computed updates into {rows} rows is beyond what edgekit writes out",
    )
    hit = Places(call).equal(call.reshape(places, (count, 1, 1)), np.arange(rows)[None, :, None])
    shape = (count, rows, width)
    wide: list[Any] = [hit, call.reshape(updates, (count, 1, width)), call.scalar(neutral, x)]
    spread = call.add("SELECT_V2", wide, shape, like=x)
    reduced = call.add(reducing, [spread, int32s([0])], (rows, width), like=x, keepDims=False)
    return call.add(joining, [x, reduced], (rows, width), like=x)


@rule("Compress", "axis")
def compress(call: Call) -> Tensor:
    """Y = X's entries where the condition holds; how many those are, its shape says."""
    flags = call.operand(1)
    if flags.data is not None:
        return picked(call)
    axis = call.integer("axis", 0) % call.x.rank if call.given("axis") else 0
    x = call.x if call.given("axis") else call.reshape(call.x, (call.x.size,))
    count, length = call.out.shape[axis], flags.size
    # TopK of (length - i where the flag is set, else 0) gives the set places in their order.
    places = Places(call)
    ranked = places.mul(places.whole_flags(flags), length - np.arange(length))
    best = call.add("TOPK_V2", [ranked, constant(np.asarray(count, np.int32))], (count,))
    found = Tensor((count,), "int32")
    call.graph.operators[-1].outputs = (best, found)
    return call.emit("GATHER", [x, found], axis=axis)


@rule("ReverseSequence", "batch_axis time_axis")
def reverse_sequence(call: Call) -> Tensor:
    """The first `length` entries of each sequence in reverse order."""
    batch, time = call.integer("batch_axis", 1), call.integer("time_axis", 0)
    lengths = Places(call).whole(call.operand(1))
    return call.emit("REVERSE_SEQUENCE", [call.x, lengths], seqDim=time, batchDim=batch)
