"""Multiply-accumulates counted in the .tflite file itself: all, and those on int8 data and weights."""

from __future__ import annotations

import math
from typing import Any

from edgekit._values import MacShare

# Operator -> places of data and weights among its inputs.
_PRODUCTS = {
    "BATCH_MATMUL": (0, 1),
    "CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}


def read_file(data: bytes) -> tuple[Any, Any]:
    """(the schema's module, the file as its object tables); neither has types."""
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(data)


def count_macs(data: bytes) -> MacShare:
    """From the shapes and types that the file holds."""
    schema, model = read_file(data)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
    total = int8 = 0
    for graph in model.subgraphs:
        for operator in graph.operators:
            name = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
            if name not in _PRODUCTS:
                continue
            values, weights = (graph.tensors[operator.inputs[place]] for place in _PRODUCTS[name])
            macs = _macs(name, values, weights, graph.tensors[operator.outputs[0]])
            total += macs
            if values.type == weights.type == schema.TensorType.INT8:
                int8 += macs
    return MacShare(int8=int8, total=total)


def op_names(data: bytes) -> list[str]:
    """The builtin operators of the file, in its order."""
    schema, model = read_file(data)
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
    return [
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for graph in model.subgraphs
        for operator in graph.operators
    ]


def _macs(name: str, values: Any, weights: Any, out: Any) -> int:
    """Weights: CONV_2D [O, H, W, I/group], DEPTHWISE [1, H, W, O], FC [O, I], TRANSPOSE_CONV [O, H, W, I]."""
    shape = [int(size) for size in weights.shape]
    made = math.prod(int(size) for size in out.shape)
    if name == "TRANSPOSE_CONV":
        return math.prod(int(size) for size in values.shape) * math.prod(shape[:-1])
    if name == "DEPTHWISE_CONV_2D":
        return made * shape[1] * shape[2]
    if name == "CONV_3D":
        return made * math.prod(shape[:-1])
    if name == "BATCH_MATMUL":
        return made * int(values.shape[-1])
    return made * math.prod(shape[1:])
