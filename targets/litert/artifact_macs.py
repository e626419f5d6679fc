"""Multiply-accumulates counted in the .tflite file itself: all, and those on int8 data and weights."""

from __future__ import annotations

import math
import mmap
from collections import Counter
from typing import TYPE_CHECKING, Any

from edgekit._values import MacShare

if TYPE_CHECKING:
    from pathlib import Path

# Operator -> places of data and weights among its inputs.
_PRODUCTS = {
    "BATCH_MATMUL": (0, 1),
    "CONV_2D": (0, 1),
    "CONV_3D": (0, 1),
    "DEPTHWISE_CONV_2D": (0, 1),
    "FULLY_CONNECTED": (0, 1),
    "TRANSPOSE_CONV": (2, 1),
}


def read_file(data: bytes | mmap.mmap) -> tuple[Any, Any]:
    """(the schema's module, the file as its object tables); neither has types."""
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(data)


def count_macs(path: Path) -> MacShare:
    """From the shapes and types that the file holds; weights are int8 or int4 beside float data in it too."""
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        counts = _count_file(*read_file(data))
    return MacShare(
        counts["int8"], counts["total"], counts["weight int8"], counts["weight int4"], counts["int16"]
    )


def _count_file(schema: Any, model: Any) -> Counter[str]:
    counts: Counter[str] = Counter()
    for graph in model.subgraphs:
        counts.update(_count_graph(schema, model, graph))
    return counts


def _count_graph(schema: Any, model: Any, graph: Any) -> Counter[str]:
    names = {number: name for name, number in vars(schema.BuiltinOperator).items() if name.isupper()}
    types = {number: name for name, number in vars(schema.TensorType).items() if name.isupper()}
    counts: Counter[str] = Counter()
    stored: dict[int, str] = {}
    for operator in graph.operators:
        name = names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        if name in ("DEQUANTIZE", "RESHAPE"):
            source = int(operator.inputs[0])
            kind = types[graph.tensors[source].type]
            if source in stored or (kind in ("INT8", "INT4") and graph.tensors[source].buffer):
                stored[int(operator.outputs[0])] = stored.get(source, kind)
        if name not in _PRODUCTS:
            continue
        places = [int(operator.inputs[place]) for place in _PRODUCTS[name]]
        values, weights = (graph.tensors[place] for place in places)
        macs = _macs(name, values, weights, graph.tensors[operator.outputs[0]])
        counts["total"] += macs
        kinds = types[values.type], stored.get(places[1], types[weights.type])
        if kinds == ("INT8", "INT8"):
            counts["int8"] += macs
        elif kinds[0] == "INT16" and kinds[1] in ("INT8", "INT16"):
            counts["int16"] += macs
        elif kinds[1] in ("INT8", "INT4"):
            counts[f"weight {kinds[1].lower()}"] += macs
    return counts


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
