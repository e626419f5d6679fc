"""Ops that move values: reshapes, transposes, slices, joins, casts."""

from __future__ import annotations

import numpy as np

from edgekit.targets.coreml.call import FIXED, Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant, mil_dtype


@rule("Identity")
def identity(call: Call) -> Tensor:
    """Y = X."""
    return call.x


@rule("Dropout", "seed")
def dropout(call: Call) -> Tensor:
    """Y = X, when the model runs."""
    training = call.optional_array(2)
    call.require(len(call.outs) == 1 and (training is None or not training.any()), "it is in training mode")
    return call.x


@rule("Reshape", "allowzero")
def reshape(call: Call) -> Tensor:
    """Y = X's values in another shape."""
    if sum(isinstance(dim, str) for dim in call.out.shape) <= 1:
        return call.reshape(call.x, call.out.shape)
    target = call.operand(1)
    if target.array is None:
        # A computed 0 would mean "as the operand's", which MIL does not know: sizes of a tensor are none.
        maker = next((item for item in call.graph.operators if target in item.outputs), None)
        call.require(maker is not None and maker.code == "shape", "its target shape is computed", FIXED)
        return call.emit("reshape", x=call.x, shape=target)
    sizes = [int(size) for size in target.array]
    call.require(not call.integer("allowzero", 0) or 0 not in sizes, "it makes a tensor without elements")
    kept = [call.x.shape[axis] if size == 0 else size for axis, size in enumerate(sizes)]
    return call.reshape(call.x, [f"?{axis}" if size == -1 else size for axis, size in enumerate(kept)])


@rule("Flatten", "axis")
def flatten(call: Call) -> Tensor:
    """Y = X as two dims."""
    if call.out.is_static:
        return call.reshape(call.x, call.out.shape)
    axis = call.integer("axis", 1)
    call.require(0 < axis < call.x.rank, "it flattens all dims, of which only the run knows some")
    return call.emit("flatten2d", x=call.x, axis=axis)


@rule("Squeeze", "axes")
def squeeze(call: Call) -> Tensor:
    """Y = X without dims of 1."""
    given = [int(axis) for axis in call.array(1)] if call.has(1) else call.ints("axes", [])
    axes = sorted(axis % call.x.rank for axis in given)
    if not axes:
        axes = [axis for axis, size in enumerate(call.x.shape) if size == 1]
    return call.emit("squeeze", x=call.x, axes=axes) if axes else call.x


@rule("Unsqueeze", "axes")
def unsqueeze(call: Call) -> Tensor:
    """Y = X with new dims of 1."""
    given = [int(axis) for axis in call.array(1)] if call.has(1) else call.ints("axes", [])
    axes = sorted(axis % call.out.rank for axis in given)
    if call.x.packed is not None:
        packed = call.x.packed
        for axis in axes:
            packed = packed.expand(axis)
        return Tensor(call.out.shape, call.x.dtype, packed=packed)
    if call.x.rank == 0:
        return call.emit("reshape", x=call.x, shape=[1] * len(axes))
    return call.emit("expand_dims", x=call.x, axes=axes)


@rule("Transpose", "perm")
def transpose(call: Call) -> Tensor:
    """Y = X with its axes in another order."""
    order = call.ints("perm", range(call.x.rank)[::-1])
    return call.transpose(call.x, order)


@rule("Concat", "axis")
def concat(call: Call) -> Tensor:
    """Y = the operands one behind the other."""
    operands = [item for item in call.inputs if item is not None and 0 not in item.shape]
    axis = call.axis(0)
    if len(operands) == 1:
        return operands[0]
    return call.emit("concat", values=operands, axis=axis, interleave=False)


@rule("Split", "axis num_outputs split")
def split(call: Call) -> list[Tensor]:
    """Y... = X cut along the axis."""
    axis = call.axis(0)
    call.require(len(call.kept) == len(call.node.outputs), "a result of its is unused", "drop it")
    full = [out for out in call.outs if 0 not in out.shape]
    if len(full) == 1:
        made = [call.x]
    else:
        sizes = [out.sizes[axis] for out in full]
        made = call.add_several(
            "split", [(out.shape, None) for out in full], x=call.x, split_sizes=sizes, axis=axis
        )
    pieces = iter(made)
    return [
        next(pieces) if 0 not in out.shape else constant(np.empty(out.sizes, out.dtype)) for out in call.outs
    ]


@rule("Slice", "axes ends starts")
def slice_(call: Call) -> Tensor:
    """Y = X[starts:ends:steps]; negative steps turn the axis round first."""
    starts, ends, axes, steps = _slice_parameters(call)
    x, turned = call.x, [axis for axis, step in zip(axes, steps, strict=True) if step < 0]
    if turned:
        x = call.add("reverse", x.shape, x=x, axes=turned)
    rank = x.rank
    begin, end, stride, masks = [0] * rank, [0] * rank, [1] * rank, [True] * rank
    for start, stop, axis, step in zip(starts, ends, axes, steps, strict=True):
        size = x.shape[axis]
        masks[axis] = False
        if isinstance(size, str):
            begin[axis], end[axis], masks[axis] = _open_slice(call, start, stop, step)
            stride[axis] = step
            continue
        low, high, _ = slice(start, stop, step).indices(size)
        if step < 0:
            low, high = size - 1 - low, size - 1 - high
        begin[axis], end[axis], stride[axis] = low, max(high, low), abs(step)
    begins = [bool(mask) for mask in masks]
    return call.emit(
        "slice_by_index", x=x, begin=begin, end=end, stride=stride, begin_mask=begins, end_mask=masks
    )


_FAR = 2**31 - 1


def _open_slice(call: Call, start: int, stop: int, step: int) -> tuple[int, int, bool]:
    """A slice of an axis that only the run knows: begin, end, and whether it is all of it."""
    call.require(
        step > 0, "it goes backwards over a dim that only the run knows", "fix the size with --shape"
    )
    call.require(abs(start) < _FAR, "it starts beyond any size")
    if stop < _FAR:
        return start, stop, False
    call.require(start == 0, "an open end behind a start, over a dim that only the run knows")
    return 0, 0, True


def _slice_parameters(call: Call) -> tuple[list[int], list[int], list[int], list[int]]:
    if call.given("starts"):
        starts, ends = call.ints("starts", ()), call.ints("ends", ())
        axes, steps = call.ints("axes", range(len(starts))), [1] * len(starts)
    else:
        starts, ends = ([int(item) for item in call.array(index)] for index in (1, 2))
        axes = [int(item) for item in call.array(3)] if call.has(3) else list(range(len(starts)))
        steps = [int(item) for item in call.array(4)] if call.has(4) else [1] * len(starts)
    return starts, ends, [axis % call.x.rank for axis in axes], steps


@rule("Tile")
def tile(call: Call) -> Tensor:
    """Y = X repeated along each axis."""
    return call.emit("tile", x=call.x, reps=[int(item) for item in call.array(1)])


@rule("DepthToSpace", "blocksize mode")
def depth_to_space(call: Call) -> Tensor:
    """Y = channels moved into blocks of the plane, in depth-column-row order or the other."""
    size, mode = call.integer("blocksize", 1), call.text("mode", "DCR")
    call.require(mode in ("DCR", "CRD"), f"mode '{mode}' is no mode of DepthToSpace")
    if mode == "CRD":
        return call.emit("pixel_shuffle", x=call.x, upscale_factor=size)
    return call.emit("depth_to_space", x=call.x, block_size=size)


@rule("SpaceToDepth", "blocksize mode")
def space_to_depth(call: Call) -> Tensor:
    """Y = blocks of the plane moved into channels, in depth-column-row order or the other."""
    mode = call.text("mode", "DCR")
    call.require(mode in ("DCR", "CRD"), f"mode '{mode}' is no mode of SpaceToDepth")
    if mode == "CRD":
        call.require_level(16, "SpaceToDepth with mode CRD")
        return call.emit(
            "pixel_unshuffle", x=call.x, downscale_factor=np.uint32(call.integer("blocksize", 1))
        )
    return call.emit("space_to_depth", x=call.x, block_size=call.integer("blocksize", 1))


@rule("ReverseSequence", "batch_axis time_axis")
def reverse_sequence(call: Call) -> Tensor:
    """Y = X with the first lengths[i] steps of each batch entry turned round."""
    return call.emit(
        "reverse_sequence",
        x=call.x,
        lengths=call.cast(call.operand(1), "int32"),
        seq_axis=call.integer("time_axis", 0),
        batch_axis=call.integer("batch_axis", 1),
    )


@rule("Trilu", "upper")
def trilu(call: Call) -> Tensor:
    """Y = X above (or below) the k-th diagonal, zeros elsewhere."""
    k = int(call.array(1).reshape(-1)[0]) if call.has(1) else 0
    rows, columns = call.x.sizes[-2:]
    keep = np.triu if call.integer("upper", 1) else np.tril
    mask = keep(np.ones((rows, columns), np.int32), k).astype(bool)
    zero = constant(np.zeros((), call.x.dtype))
    return Formula(call).select(constant(mask), call.x, zero)


@rule("Shape", "end start")
def shape(call: Call) -> Tensor:
    """Y = X's sizes: a constant, but for dims that only the run knows."""
    begin, end = call.integer("start", 0), call.integer("end", call.x.rank)
    begin, end, _ = slice(begin, end).indices(call.x.rank)
    dims = call.x.shape[begin:end]
    if all(isinstance(dim, int) for dim in dims):
        return constant(np.asarray(dims, np.int32))
    whole = call.add("shape", (call.x.rank,), makes="int32", x=call.x)
    return call.slice(whole, 0, begin, end)


@rule("ConstantOfShape", "value")
def constant_of_shape(call: Call) -> Tensor:
    """Y = one value in a constant shape; of float32 alone, since MIL's `fill` says nothing of others."""
    value = call.attribute("value").numpy() if call.given("value") else np.zeros(1, np.float32)
    call.require(call.out.dtype == "float32", f"it makes {call.out.dtype}", "use a float32 constant")
    sizes = constant(np.asarray(call.array(0), np.int32))
    return call.emit("fill", shape=sizes, value=float(np.asarray(value).reshape(())))


@rule("Cast", "round_mode saturate to")
def cast(call: Call) -> Tensor:
    """Y = X in another dtype; to float16 it is rounded and goes on as the program's float."""
    x, wanted = call.x, call.out.dtype
    if wanted == "bool" and x.dtype != "bool":
        return Formula(call).binary("not_equal", x, 0, "bool")
    if wanted in ("float32", "int32", "bool"):
        rounded = _rounds_to_fp16(call)
        if rounded:
            x = call.add("cast", x.shape, makes="float16", x=x, dtype="fp16")
            return call.add("cast", x.shape, makes="float32", x=x, dtype="fp32")
        return call.cast(x, wanted)
    call.require(x.dtype in ("float32", "bool"), f"{x.dtype} would wrap round as {wanted}")
    call.require_level(17, f"a cast to {wanted}")
    return call.cast(x, wanted)


def _rounds_to_fp16(call: Call) -> bool:
    """Whether ONNX's result is float16 where the operand is not."""
    before, after = call.node.inputs[0], call.node.outputs[0]
    names = [None if value is None or value.dtype is None else value.dtype.name for value in (before, after)]
    return names[1] == "FLOAT16" and names[0] == "FLOAT" and mil_dtype("float16") == "float32"
