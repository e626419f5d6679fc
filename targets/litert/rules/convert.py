"""Casts, and the borders between float and int8."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import ROUNDED, Tensor, constant
from edgekit.targets.litert.rules.shape import gathered


@rule("Cast", "to saturate")
def cast(call: Call) -> Tensor:
    """Y = X as another dtype."""
    call.require(call.out.dtype not in ("float16", "bfloat16"), f"LiteRT computes on no {call.out.dtype}")
    return call.cast(call.x, call.out.dtype)


@rule("Identity OptionalGetElement")
def identity(call: Call) -> Tensor:
    """Y = X."""
    return call.x


@rule("Dropout", "seed ratio")
def dropout(call: Call) -> Tensor:
    """Y = X where it does not train."""
    call.require(
        2 not in call.computed,
        "whether it trains is decided at run time",
        "bind that input to False with --bind",
    )
    training = call.has(2) and bool(np.any(call.array(2)))
    if training:
        ratio = float(call.array(1)) if call.has(1) else 0.5
        call.require(ratio == 0, "training mode has no LiteRT form", "export for inference")
    call.require(len(call.outs) == 1 and call.kept == (0,), "its mask has no LiteRT form")
    return call.x


@rule("QuantizeLinear", "axis")
def quantize(call: Call) -> Tensor:
    """y = round(x / scale) + zero_point, int8 or int16, and per tensor."""
    call.require(
        call.out.dtype in ROUNDED, f"a Q of {call.out.dtype} has no LiteRT form", "use --scheme portable"
    )
    call.require(
        call.array(1).size == 1, "a Q per axis has no LiteRT form", "quantize activations per tensor"
    )
    call.require(call.out.quant is not None, "the scale of this Q is not known")
    return call.emit("QUANTIZE", [call.x])


@rule("DequantizeLinear", "axis block_size output_dtype")
def dequantize(call: Call) -> Tensor:
    """y = (x - zero_point) * scale; of a constant it is computed here."""
    x = call.x
    call.require(call.out.dtype == "float32", f"a DQ to {call.out.dtype} has no LiteRT form")
    scale, offset = call.optional(1), call.optional(2)
    zero = None if offset is None else offset.data
    assert scale is not None
    if (
        x.data is not None
        and scale.data is not None
        and not call.computed
        and not call.integer("block_size", 0)
    ):
        made = constant(_restored(x.data, scale.data, zero, call.integer("axis", 1)))
        made.integers = x if x.dtype == "int8" and x.quant is not None else None
        return made
    if x.dtype in ROUNDED and x.quant is not None:
        return call.emit("DEQUANTIZE", [x])
    f = Formula(call)
    axis, block = call.integer("axis", 1) % max(x.rank, 1), call.integer("block_size", 0)
    values = call.cast(x, "float32")
    factor = _spread(call, scale, x, axis, block=block)
    if offset is None or (zero is not None and not np.any(zero.astype(np.float32))):
        return f.mul(values, factor)
    moved = _spread(call, call.cast(offset, "float32"), x, axis, block=block)
    return f.mul(f.sub(values, moved), factor)


def _spread(call: Call, values: Tensor, x: Tensor, axis: int, *, block: int) -> Tensor:
    """Scales or zero-points in a shape that broadcasts to x: one, one an entry of `axis`, or one a block."""
    if values.size == 1:
        return call.reshape(values, ())
    if values.rank == 1 and not block:
        return call.reshape(values, [size if i == axis else 1 for i, size in enumerate(x.shape)])
    return gathered(call, values, np.arange(x.shape[axis]) // block, axis)


def _restored(values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int) -> np.ndarray:
    """In float32, as ONNX defines it."""
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis % values.ndim] = -1
    offset = np.int32(0) if zero is None else zero.astype(np.int32).reshape(shape if zero.size > 1 else ())
    factor = scale.astype(np.float32).reshape(shape if scale.size > 1 else ())
    return np.asarray((values.astype(np.int32) - offset).astype(np.float32) * factor)
