"""QuantizeLinear and DequantizeLinear: MIL's own operations with the very scales; weights stay integers."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit._lowering import Refused
from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Packed, Tensor, constant

_EIGHT_BIT = ("int8", "uint8")
_FP16 = np.finfo(np.float16)


@rule("QuantizeLinear", "axis block_size output_dtype precision saturate")
def quantize(call: Call) -> Tensor:
    """y = saturate(round(x / scale) + zero_point), as int8 or uint8."""
    if not call.operand(1).is_constant:
        return _quantize_computed(call)
    scale, zero = _parameters(call)
    _require_plain(call)
    dtype = call.out.dtype
    call.require(dtype in _EIGHT_BIT, f"it makes {dtype}, and Core ML quantizes to int8 and uint8")
    return call.add(
        "quantize",
        call.x.shape,
        makes=dtype,
        input=call.x,
        scale=scale,
        zero_point=_offset(zero),
        output_dtype=dtype,
        axis=_axis(call, scale),
    )


@rule("DequantizeLinear", "axis block_size output_dtype")
def dequantize(call: Call) -> Tensor:
    """y = (x - zero_point) * scale; a constant x stays integers in the file."""
    if not call.operand(1).is_constant:
        return _dequantize_computed(call)
    scale, zero = _parameters(call)
    call.require(call.out.dtype == "float32", f"it makes {call.out.dtype}")
    if call.x.is_constant:
        return _weight(call, zero)
    _require_plain(call)
    call.require(call.x.dtype in _EIGHT_BIT, f"it reads {call.x.dtype}, and Core ML reads int8 and uint8")
    return call.add(
        "dequantize",
        call.x.shape,
        makes="float32",
        input=call.x,
        scale=scale,
        zero_point=_offset(zero),
        axis=_axis(call, scale),
    )


_RANGES = {"int8": (-128.0, 127.0), "uint8": (0.0, 255.0)}


def _quantize_computed(call: Call) -> Tensor:
    """The same with a scale that the run computes, written out."""
    f, dtype = Formula(call), call.out.dtype
    call.require(dtype in _RANGES, f"it makes {dtype}")
    call.require(not call.integer("block_size", 0), "a computed scale by blocks has no Core ML form")
    codes = f.unary("round", f.div(call.x, _along_axis(call, call.operand(1))))
    if call.has(2):
        codes = f.add(codes, call.cast(_along_axis(call, call.operand(2)), "float32"))
    low, high = _RANGES[dtype]
    call.require_level(17, f"a cast to {dtype}")
    return call.cast(f.minimum(f.maximum(codes, low), high), dtype)


def _dequantize_computed(call: Call) -> Tensor:
    f = Formula(call)
    call.require(not call.integer("block_size", 0), "a computed scale by blocks has no Core ML form")
    values = call.cast(call.x, "float32")
    if call.has(2):
        values = f.sub(values, call.cast(_along_axis(call, call.operand(2)), "float32"))
    return f.mul(values, _along_axis(call, call.operand(1)))


def _along_axis(call: Call, values: Tensor) -> Tensor:
    """One number, or one an entry of the axis, so that it broadcasts to x."""
    if values.size == 1:
        return call.reshape(values, (1,) * max(call.x.rank, 1))
    axis = call.axis(1)
    return call.reshape(values, [values.size if i == axis else 1 for i in range(call.x.rank)])


def _require_plain(call: Call) -> None:
    call.require(call.x.rank > 0, "it has no dims")
    call.require(not call.integer("block_size", 0), "a computed tensor by blocks has no Core ML form")
    precision = call.integer("precision", 0)
    call.require(precision in (0, 1), "it asks for a division in another precision than float32")
    call.require(call.integer("output_dtype", 0) in (0, 1, 2, 3), "it makes neither int8 nor uint8")


def _parameters(call: Call) -> tuple[Tensor, np.ndarray[Any, Any] | None]:
    """The scale (constant, above 0) and the zero-point."""
    scale = call.array(1)
    call.require(bool(np.all(scale > 0)), "a scale is not above 0")
    flat = scale.reshape(-1) if scale.size > 1 or scale.ndim > 1 else scale.reshape(())
    return constant(flat.astype(np.float32)), call.optional_array(2)


def _offset(zero: np.ndarray[Any, Any] | None) -> Tensor | None:
    """Core ML takes a zero-point that is left out for 0."""
    if zero is None or not np.any(zero):
        return None
    return constant(zero.reshape(-1) if zero.size > 1 else zero.reshape(()))


def _axis(call: Call, scale: Tensor) -> int | None:
    return call.axis(1) if scale.rank else None


def _weight(call: Call, zero: np.ndarray[Any, Any] | None) -> Tensor:
    """A weight of int8 (per tensor or axis), or by blocks; other integers are restored here."""
    integers = call.array(0)
    four_bits = "4" in _onnx_dtype(call)
    scales = _blocks(call, call.array(1), integers.shape)
    offset = None if zero is None or not np.any(zero) else _blocks(call, zero, integers.shape)
    packed = Packed(integers, scales.astype(np.float32), offset, 4 if four_bits else 8)
    if integers.ndim == 0 or (integers.dtype.name not in _EIGHT_BIT and not four_bits):
        return constant(packed.restore())
    _require_form(call, packed)
    return Tensor(integers.shape, "float32", packed=packed)


def _onnx_dtype(call: Call) -> str:
    value = call.node.inputs[0]
    return "" if value is None or value.dtype is None else str(value.dtype.name)


def _blocks(call: Call, values: np.ndarray[Any, Any], shape: tuple[int, ...]) -> np.ndarray[Any, Any]:
    """Scales (or zero-points) with the rank of the integers: one number, one an entry, or one a block."""
    if values.size == 1:
        return values.reshape((1,) * len(shape))
    axis = call.integer("axis", 1) % len(shape)
    if values.ndim == 1:
        call.require(values.size == shape[axis], "its scales fit no axis")
        return values.reshape([values.size if i == axis else 1 for i in range(len(shape))])
    block = call.integer("block_size", 0)
    call.require(
        block > 0 and shape[axis] % block == 0,
        "its blocks do not divide the axis",
        "choose another block size",
    )
    return values


def _require_form(call: Call, packed: Packed) -> None:
    """What the deployment target can restore."""
    blocks = [axis for axis, size in enumerate(packed.scale.shape) if size > 1]
    by_axis = not blocks or (
        len(blocks) == 1 and packed.scale.shape[blocks[0]] == packed.integers.shape[blocks[0]]
    )
    if packed.bits == 4:
        call.require_level(18, "an int4 weight")
    elif not by_axis:
        call.require_level(18, "a weight with a scale a block")
    else:
        call.require_level(16, "an int8 weight")
    if packed.bits == 4 and packed.integers.dtype.kind not in "iu":
        raise Refused("its 4-bit integers are held in an unknown form")
