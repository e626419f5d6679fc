"""What TensorRT demands of QuantizeLinear and DequantizeLinear; each finding is (rule, way out)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.targets.tensorrt.op_table import version_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit.targets.tensorrt.op_table import OpTable

Finding = tuple[str, str]

# onnx-tensorrt's parser up to release 8.6: "requires 3 inputs".
_OPTIONAL_ZERO_POINT_SINCE = (9, 0)
# TensorRT 8's developer guide, as remembered (unverified): weights of Q/DQ models are given in FP32.
_INT8_WEIGHTS_SINCE = (10, 0)
# onnx-tensorrt 10.0 and 10.1 refuse an odd last dim of int4 (onnxOpImporters.cpp); RTX 1.7's takes it.
_ODD_INT4_SINCE = (10, 15)

# Source of all rows here: verdicts of the TensorRT-RTX 1.7 parser on small graphs, onnx-tensorrt tables.
_REQUANTIZE = "quantize the float model with the portable scheme (int8, zero-point 0)"
_FLOAT_BIAS = "keep the bias in float and drop its DequantizeLinear"
_SYMMETRIC = (ir.DataType.INT8, ir.DataType.INT4, ir.DataType.FLOAT4E2M1)
_FLOAT8 = (ir.DataType.FLOAT8E4M3FN,)


def check_qdq(node: ir.Node, table: OpTable) -> Iterator[Finding]:
    """Scale, zero-point and integer type of one Q or DQ node."""
    if version_key(table.asked) < _OPTIONAL_ZERO_POINT_SINCE and _input(node, 2) is None:
        yield f"TensorRT {table.asked} wants a zero-point, and there is none", "write an int8 zero-point of 0"
    yield from _check_scale(node)
    yield from _check_zero_point(node)
    yield from _check_type(node)
    if version_key(table.version) < _ODD_INT4_SINCE:
        yield from _check_packing(node)


def _check_scale(node: ir.Node) -> Iterator[Finding]:
    """QuantizeLinear(x, y_scale, y_zero_point) and DequantizeLinear(x, x_scale, x_zero_point)."""
    scale = constant(node, 1)
    if scale is None:
        yield "the scale is computed, and TensorRT wants a constant", "fold it, or use static quantization"
        return
    values = np.asarray(scale.numpy(), dtype=np.float64)
    if not np.all(np.isfinite(values)) or np.any(values <= 0):
        yield f"scale {values.min():g} is not a positive number", "calibrate again; a scale must be above 0"


def _check_zero_point(node: ir.Node) -> Iterator[Finding]:
    if len(node.inputs) < 3 or node.inputs[2] is None:
        return
    zero_point = constant(node, 2)
    if zero_point is None:
        yield "the zero-point is computed, and TensorRT wants a constant 0", _REQUANTIZE
        return
    values = np.asarray(zero_point.numpy()).astype(np.float64)
    if np.any(values != 0):
        yield f"zero-point {values[values != 0].flat[0]:g} is not 0", _REQUANTIZE


def _check_type(node: ir.Node) -> Iterator[Finding]:
    """int8 passes; uint8 is refused even at zero-point 0, where TensorRT would read it as int8."""
    dtype = integer_type(node)
    if dtype is None:
        yield "its integer type is unknown", "give the zero-point as an initializer"
    elif dtype is ir.DataType.UINT8:
        yield "uint8 is read as int8 (with zero-point 0 silently)", _REQUANTIZE
    elif dtype is ir.DataType.INT32:
        yield "int32 through DequantizeLinear (a quantized bias) is refused", _FLOAT_BIAS
    elif dtype not in _SYMMETRIC and dtype not in _FLOAT8:
        yield f"{dtype.name.lower()} quantization is refused", _REQUANTIZE


def _check_packing(node: ir.Node) -> Iterator[Finding]:
    """Two int4 numbers lie in a byte, so the last dim must be even."""
    value = node.inputs[0]
    last = value.shape[-1] if value is not None and value.shape is not None and len(value.shape) else None
    if isinstance(last, int) and last % 2 and integer_type(node) is ir.DataType.INT4:
        yield (
            f"int4 with a last dim of {last}, and TensorRT wants an even one",
            "keep the node that reads it out with --float, or use --precision w8",
        )


def has_blocks(node: ir.Node) -> bool:
    """A DequantizeLinear with a scale for each block of its weight."""
    return node.op_type == "DequantizeLinear" and node.attributes.get_int("block_size", 0) > 0


def reads_int8_weight(node: ir.Node, table: OpTable) -> bool:
    """A DQ over an int8 initializer, on a version whose guide asks for FP32 weights through Q and DQ."""
    old = version_key(table.asked) < _INT8_WEIGHTS_SINCE
    return old and node.op_type == "DequantizeLinear" and constant(node, 0) is not None


def integer_type(node: ir.Node) -> ir.DataType | None:
    """The quantized side's type; ONNX's default (no zero-point, no output_dtype) is uint8."""
    if node.op_type == "DequantizeLinear":
        value = node.inputs[0]
        return _dtype(value) or _dtype(_input(node, 2))
    named = node.attributes.get_int("output_dtype", 0)
    if named:
        return ir.DataType(named)
    zero_point = _input(node, 2)
    return ir.DataType.UINT8 if zero_point is None else _dtype(zero_point)


def constant(node: ir.Node, position: int) -> ir.TensorProtocol | None:
    """The initializer or Constant behind an input; None where it is computed or absent."""
    value = _input(node, position)
    return None if value is None else ir.convenience.get_const_tensor(value)


def _input(node: ir.Node, position: int) -> ir.Value | None:
    return node.inputs[position] if position < len(node.inputs) else None


def _dtype(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    if value.dtype is not None:
        return value.dtype
    producer = value.producer()
    if producer is not None and producer.op_type == "QuantizeLinear":
        return integer_type(producer)
    return None if value.const_value is None else value.const_value.dtype
