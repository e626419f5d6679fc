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


def read_file(data: bytes) -> tuple[Any, Any]:
    """(the schema's module, the file as its object tables); neither has types."""
    from ai_edge_litert import schema_py_generated as schema

    return schema, schema.ModelT.InitFromPackedBuf(data)


def count_macs(path: Path) -> MacShare:
    """From the shapes and types that the file holds; weights are int8 or int4 beside float data in it too."""
    from ai_edge_litert import schema_py_generated as schema

    counts: Counter[str] = Counter()
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        # Object tables of the whole file take five times as long as what is read here.
        model = schema.Model.GetRootAs(data)
        for index in range(model.SubgraphsLength()):
            counts.update(_count_graph(schema, model, model.Subgraphs(index)))
        del model
    return MacShare(
        counts["int8"], counts["total"], counts["weight int8"], counts["weight int4"], counts["int16"]
    )


def _count_graph(schema: Any, model: Any, graph: Any) -> Counter[str]:
    names, types = (_names(kind) for kind in (schema.BuiltinOperator, schema.TensorType))
    codes = [names[_code(model.OperatorCodes(index))] for index in range(model.OperatorCodesLength())]
    counts: Counter[str] = Counter()
    stored: dict[int, str] = {}
    for index in range(graph.OperatorsLength()):
        operator = graph.Operators(index)
        name = codes[operator.OpcodeIndex()]
        if name in ("DEQUANTIZE", "RESHAPE"):
            source = operator.Inputs(0)
            kind = types[graph.Tensors(source).Type()]
            if source in stored or (kind in ("INT8", "INT4") and graph.Tensors(source).Buffer()):
                stored[operator.Outputs(0)] = stored.get(source, kind)
        if name not in _PRODUCTS:
            continue
        places = [operator.Inputs(place) for place in _PRODUCTS[name]]
        values, weights = (graph.Tensors(place) for place in places)
        macs = _macs(name, *(_shape(item) for item in (values, weights, graph.Tensors(operator.Outputs(0)))))
        counts["total"] += macs
        kinds = types[values.Type()], stored.get(places[1], types[weights.Type()])
        if kinds == ("INT8", "INT8"):
            counts["int8"] += macs
        elif kinds[0] == "INT16" and kinds[1] in ("INT8", "INT16"):
            counts["int16"] += macs
        elif kinds[1] in ("INT8", "INT4"):
            counts[f"weight {kinds[1].lower()}"] += macs
    return counts


def _names(kind: Any) -> dict[int, str]:
    return {number: name for name, number in vars(kind).items() if name.isupper()}


def _code(entry: Any) -> int:
    """Operators that are older than the wider field are in the narrow one alone."""
    return max(int(entry.BuiltinCode()), int(entry.DeprecatedBuiltinCode()))


def _shape(tensor: Any) -> list[int]:
    return [tensor.Shape(axis) for axis in range(tensor.ShapeLength())]


def op_names(data: bytes) -> list[str]:
    """The builtin operators of the file, in its order."""
    schema, model = read_file(data)
    names = _names(schema.BuiltinOperator)
    return [
        names[model.operatorCodes[operator.opcodeIndex].builtinCode]
        for graph in model.subgraphs
        for operator in graph.operators
    ]


def _macs(name: str, values: list[int], weights: list[int], out: list[int]) -> int:
    """Weights: CONV_2D [O, H, W, I/group], DEPTHWISE [1, H, W, O], FC [O, I], TRANSPOSE_CONV [O, H, W, I]."""
    if name == "TRANSPOSE_CONV":
        return math.prod(values) * math.prod(weights[:-1])
    if name == "DEPTHWISE_CONV_2D":
        return math.prod(out) * weights[1] * weights[2]
    if name == "CONV_3D":
        return math.prod(out) * math.prod(weights[:-1])
    if name == "BATCH_MATMUL":
        return math.prod(out) * values[-1]
    return math.prod(out) * math.prod(weights[1:])
