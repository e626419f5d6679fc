"""Ops that move, repeat or pick values without computing."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import Tensor, constant, int32s
from edgekit.targets.litert.rules.sliced import pad_at_run_time, slice_at_run_time


@rule("Reshape Flatten Squeeze Unsqueeze", "allowzero axis axes")
def reshape(call: Call) -> Tensor:
    """Y has the values of X in X's order; its shape is known."""
    return call.reshape(call.x, call.out.shape)


@rule("Transpose", "perm")
def transpose(call: Call) -> Tensor:
    """Y = X with its axes in the order `perm`."""
    rank = call.x.rank
    return call.transpose(call.x, call.ints("perm", range(rank - 1, -1, -1)))


@rule("Concat", "axis")
def concat(call: Call) -> Tensor:
    """Y = the operands one after another along the axis."""
    operands = [item for item in map(call.operand, range(len(call.inputs))) if item.size]
    if len(operands) == 1:
        return operands[0]
    return call.emit("CONCATENATION", operands, axis=call.integer("axis", 0) % call.out.rank)


@rule("Split", "axis num_outputs split")
def split(call: Call) -> list[Tensor]:
    """X cut into pieces along the axis."""
    axis = call.integer("axis", 0) % call.x.rank
    pieces, begin = [], 0
    for out in call.outs:
        if not out.size:
            pieces.append(constant(np.empty(out.shape, out.dtype)))
            continue
        start = [0] * call.x.rank
        start[axis] = begin
        begin += out.shape[axis]
        pieces.append(call.slice(call.x, start, out.shape))
    call.require(begin == call.x.shape[axis], "a piece that nobody names has no LiteRT form")
    return pieces


@rule("Slice")
def slice_(call: Call) -> Tensor:
    """Y = X[starts:ends:steps] along the axes."""
    if any(index in call.computed for index in (1, 3, 4)):
        return slice_at_run_time(call)
    starts = call.array(1).reshape(-1)
    axes = call.optional_array(3)
    steps = call.optional_array(4)
    axes = np.arange(len(starts)) if axes is None else axes.reshape(-1)
    steps = np.ones(len(starts), np.int64) if steps is None else steps.reshape(-1)
    rank = call.x.rank
    begin, stride = [0] * rank, [1] * rank
    for start, axis, step in zip(starts, axes, steps, strict=True):
        at = int(axis) % rank
        begin[at] = _clamped(int(start), call.x.shape[at], int(step))
        stride[at] = int(step)
    if all(step == 1 for step in stride):
        return call.slice(call.x, begin, call.out.shape)
    call.require(rank <= 5, f"LiteRT steps through at most 5 dims, not {rank}")
    ends = [b + n * s for b, n, s in zip(begin, call.out.shape, stride, strict=True)]
    mask = sum(1 << i for i, end in enumerate(ends) if end < 0)
    inputs = [call.x, int32s(begin), int32s([max(end, 0) for end in ends]), int32s(stride)]
    return call.emit("STRIDED_SLICE", inputs, endMask=mask)


def _clamped(start: int, size: int, step: int) -> int:
    start = start + size if start < 0 else start
    return min(max(start, 0), size if step > 0 else size - 1)


@rule("Pad", "mode")
def pad(call: Call) -> Tensor:
    """Y = X with borders: a constant, or values of X itself."""
    if any(index in call.computed for index in (1, 3)):
        return pad_at_run_time(call)
    rank, mode = call.x.rank, call.text("mode", "constant")
    table = np.zeros((rank, 2), np.int64)
    axes = call.optional_array(3)
    axes = np.arange(rank) if axes is None else axes.reshape(-1) % rank
    table[axes] = call.array(1).reshape(2, -1).T
    x = call.x
    if (table < 0).any():
        begin = np.maximum(-table[:, 0], 0)
        size = [n - b - max(-int(e), 0) for n, b, e in zip(x.shape, begin, table[:, 1], strict=True)]
        x, table = call.slice(x, begin.tolist(), size), np.maximum(table, 0)
    if mode != "constant":
        return _bordered(call, x, table, mode)
    call.require(rank <= 5, f"LiteRT pads at most 5 dims, not {rank}")
    paddings = constant(table.astype(np.int32))
    fill = call.optional(2)
    if fill is None or (fill.data is not None and not np.any(fill.data)):
        return call.emit("PAD", [x, paddings])
    return call.emit("PADV2", [x, paddings, call.reshape(fill, ())])


_NUMPY_MODES = {"edge": "edge", "reflect": "reflect", "wrap": "wrap"}


def _bordered(call: Call, x: Tensor, table: Any, mode: str) -> Tensor:
    """Each padded axis is gathered by the positions that numpy's padding of 0..n-1 gives."""
    call.require(mode in _NUMPY_MODES, f"mode '{mode}' has no LiteRT form")
    once = all(low < size and high < size for size, (low, high) in zip(x.shape, table.tolist(), strict=True))
    if mode == "reflect" and once and x.rank <= 5:
        return call.emit("MIRROR_PAD", [x, constant(table.astype(np.int32))], mode="REFLECT")
    for axis, (low, high) in enumerate(table.tolist()):
        if low or high:
            places = np.pad(np.arange(x.shape[axis]), (low, high), mode=_NUMPY_MODES[mode])  # type: ignore[call-overload]  # numpy wants a literal
            x = gathered(call, x, places, axis)
    return x


def gathered(call: Call, x: Tensor, places: Any, axis: int) -> Tensor:
    """x's entries at constant places along one axis."""
    shape = [len(places) if i == axis else size for i, size in enumerate(x.shape)]
    return call.add("GATHER", [x, int32s(places)], shape, axis=axis)


@rule("Tile")
def tile(call: Call) -> Tensor:
    """Y = X repeated along each axis."""
    return call.emit("TILE", [call.x, int32s(call.array(1).reshape(-1).tolist())])


@rule("ConstantOfShape", "value")
def constant_of_shape(call: Call) -> Tensor:
    """Y = one value in a constant shape: one that is too large to be folded is filled when it runs."""
    call.require(
        0 not in call.computed, "its shape is computed at run time", "fix the input shapes with --shape"
    )
    value = call.attribute("value").numpy() if call.given("value") else np.zeros(1, np.float32)
    return call.emit("FILL", [int32s(call.out.shape), constant(np.asarray(value).reshape(()))])


@rule("Expand")
def expand(call: Call) -> Tensor:
    """Y = X broadcast to a known shape."""
    shape = call.out.shape
    call.require(len(shape) <= 8, "LiteRT broadcasts at most 8 dims")
    if call.x.shape == shape:
        return call.x
    return call.emit("BROADCAST_TO", [call.x, int32s(shape)])


@rule("DepthToSpace", "blocksize mode")
def depth_to_space(call: Call) -> Tensor:
    """Blocks of channels become space; channels last. CRD's channels are put into DCR's order first."""
    block, x = call.integer("blocksize", 1), call.x
    if call.text("mode", "DCR") == "CRD":
        depth = x.shape[-1] // (block * block)
        places = np.arange(x.shape[-1]).reshape(depth, block * block).T.reshape(-1)
        x = gathered(call, x, places, 3)
    return call.emit("DEPTH_TO_SPACE", [x], blockSize=block)


@rule("SpaceToDepth", "blocksize mode")
def space_to_depth(call: Call) -> Tensor:
    """Blocks of space become channels; channels last. CRD's order is made from DCR's."""
    block = call.integer("blocksize", 1)
    made = call.emit("SPACE_TO_DEPTH", [call.x], blockSize=block)
    if call.text("mode", "DCR") == "DCR":
        return made
    places = np.arange(made.shape[-1]).reshape(block * block, call.x.shape[-1]).T.reshape(-1)
    return gathered(call, made, places, 3)


@rule("Trilu", "upper")
def trilu(call: Call) -> Tensor:
    """Y = the upper or lower triangle of X, zeros elsewhere."""
    offset = int(call.array(1).reshape(-1)[0]) if call.has(1) else 0
    rows, columns = call.x.shape[-2:]
    keep = np.tri(rows, columns, offset if not call.integer("upper", 1) else offset - 1, dtype=bool)
    keep = ~keep if call.integer("upper", 1) else keep
    call.require(call.out.dtype in ("float32", "int32", "int64"), f"no {call.out.dtype} select")
    mask = constant(np.ascontiguousarray(np.broadcast_to(keep, call.x.shape)))
    return call.emit("SELECT_V2", [mask, call.x, call.scalar(0, call.x)])


@rule("Range")
def range_(call: Call) -> Tensor:
    """Y = start, start + delta, ...; how many there are is in its shape."""
    start, delta = call.operand(0), call.operand(2)
    steps = constant(np.arange(call.out.size).astype(call.out.dtype))
    moved = call.add("MUL", [steps, call.reshape(delta, ())], steps.shape)
    return call.emit("ADD", [moved, call.reshape(start, ())])
