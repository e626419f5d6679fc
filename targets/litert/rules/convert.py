"""Casts, and the borders between float and int8."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant


@rule("Cast", "to saturate")
def cast(call: Call) -> Tensor:
    """Y = X as another dtype."""
    call.require(call.out.dtype not in ("float16", "bfloat16"), f"LiteRT computes on no {call.out.dtype}")
    return call.cast(call.x, call.out.dtype)


@rule("Identity")
def identity(call: Call) -> Tensor:
    """Y = X."""
    return call.x


@rule("QuantizeLinear", "axis")
def quantize(call: Call) -> Tensor:
    """y = round(x / scale) + zero_point, int8 and per tensor."""
    call.require(
        call.out.dtype == "int8", f"a Q of {call.out.dtype} has no LiteRT form", "use --scheme portable"
    )
    call.require(
        call.array(1).size == 1, "a Q per axis has no LiteRT form", "quantize activations per tensor"
    )
    call.require(call.out.quant is not None, "the scale of this Q is not known")
    return call.emit("QUANTIZE", [call.x])


@rule("DequantizeLinear", "axis")
def dequantize(call: Call) -> Tensor:
    """y = (x - zero_point) * scale; of a constant it is computed here."""
    x = call.x
    call.require(call.out.dtype == "float32", f"a DQ to {call.out.dtype} has no LiteRT form")
    scale, zero = call.optional(1), call.optional_array(2)
    assert scale is not None
    if x.data is not None and scale.data is not None:
        return constant(_restored(x.data, scale.data, zero, call.integer("axis", 1)))
    if x.dtype == "int8" and x.quant is not None:
        return call.emit("DEQUANTIZE", [x])
    call.require(scale.size == 1, "a DQ per axis of computed values has no LiteRT form")
    f = Formula(call)
    offset = 0.0 if zero is None else float(zero.reshape(-1)[0])
    values = call.cast(x, "float32")
    shifted = f.sub(values, offset) if offset else values
    return f.mul(shifted, call.reshape(scale, ()))


def _restored(values: np.ndarray, scale: np.ndarray, zero: np.ndarray | None, axis: int) -> np.ndarray:
    """In float32, as ONNX defines it."""
    shape = [1] * values.ndim
    if scale.size > 1:
        shape[axis % values.ndim] = -1
    offset = np.int32(0) if zero is None else zero.astype(np.int32).reshape(shape if zero.size > 1 else ())
    factor = scale.astype(np.float32).reshape(shape if scale.size > 1 else ())
    return np.asarray((values.astype(np.int32) - offset).astype(np.float32) * factor)
