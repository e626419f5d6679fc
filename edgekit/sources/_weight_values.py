"""Refuse weights that hold NaN, and Inf where a weight multiplies; read in chunks, never as a whole."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.sources.drawn_weights import DrawnTensor
from edgekit.sources.shape_only import ShapeOnlyTensor

if TYPE_CHECKING:
    from collections.abc import Iterator

# Ops whose inputs of rank >= 2 are weights; an Inf there makes every output NaN or Inf.
# Elsewhere -Inf is legitimate: attention masks hold it.
MULTIPLYING_OPS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
_FLOATS = frozenset({ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE})
_CHUNK_ELEMENTS = 4 * 2**20


def check_weight_values(model: ir.Model) -> None:
    """Raise ModelError, naming initializer and consuming node, for NaN in any weight or Inf in a factor."""
    for value, tensor in _weights(model):
        if tensor.dtype not in _FLOATS:
            continue
        largest = _largest(tensor)
        if math.isfinite(largest):
            continue
        users = [user for user, _ in value.uses()]
        multiplying = [user for user in users if user.op_type in MULTIPLYING_OPS and len(tensor.shape) >= 2]
        if not math.isnan(largest) and not multiplying:
            continue
        kind = "NaN" if math.isnan(largest) else "Inf"
        user = next(iter(multiplying or users), None)
        where = f"{user.op_type} '{user.name}'" if user is not None else "no node"
        raise ModelError(
            f"weight '{value.name}' (used by {where}) holds {kind}",
            fix="export the model again from a checkpoint with finite weights",
        )


def _weights(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for graph in model.graphs():
        for value in graph.initializers.values():
            held = value.const_value
            if held is not None and not isinstance(held, (ShapeOnlyTensor, DrawnTensor)):
                yield value, held
        for node in graph:
            tensor = node.attributes.get("value") if node.op_type == "Constant" else None
            if tensor is not None and tensor.type == ir.AttributeType.TENSOR:
                yield node.outputs[0], tensor.value


def _largest(tensor: ir.TensorProtocol) -> float:
    """Largest magnitude: NaN where any value is NaN."""
    largest = 0.0
    for chunk in _chunks(tensor):
        if not chunk.size:
            continue
        if np.isnan(np.max(chunk)):
            return math.nan
        largest = max(largest, abs(float(np.max(chunk))), abs(float(np.min(chunk))))
    return largest


def _chunks(tensor: ir.TensorProtocol) -> Iterator[np.ndarray]:
    if not isinstance(tensor, ir.ExternalTensor):
        yield tensor.numpy()
        return
    dtype = tensor.dtype.numpy().newbyteorder("<") if tensor.dtype != ir.DataType.BFLOAT16 else None
    itemsize = int(tensor.dtype.itemsize)
    left = math.prod(tensor.shape.numpy()) * itemsize
    with open(tensor.path, "rb") as stream:  # noqa: PTH123 - a str from onnx_ir
        stream.seek(tensor.offset or 0)
        while left > 0:
            data = stream.read(min(left, _CHUNK_ELEMENTS * itemsize))
            left -= len(data)
            yield np.frombuffer(data, dtype or tensor.dtype.numpy())
