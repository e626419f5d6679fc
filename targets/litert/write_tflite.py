"""Graph -> the bytes of a .tflite file; the same graph always gives the same bytes."""

from __future__ import annotations

import hashlib
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingToolError, ModelError

if TYPE_CHECKING:
    from edgekit.targets.litert.graph import Graph, Operator, Tensor

INSTALL = 'pip install "ai-edge-litert>=2.3" "flatbuffers>=25"'
# A flatbuffer's offsets are 31 bits; weights beyond that need LiteRT's external buffers.
LARGEST_BYTES = 2_000_000_000
_ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the public schema


def write_tflite(graph: Graph, *, description: str) -> bytes:
    """One subgraph, one signature; ModelError where the weights pass LARGEST_BYTES."""
    try:
        import flatbuffers
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingToolError("ai-edge-litert is not installed", fix=INSTALL) from error
    tensors = _list_tensors(graph)
    size = sum(tensor.data.nbytes for tensor in tensors if tensor.data is not None)
    if size > LARGEST_BYTES:
        raise ModelError(
            f"the weights are {size} bytes, and one .tflite file holds {LARGEST_BYTES}",
            fix="use --precision int8 or fp16, or split the model",
        )
    model = _Writer(schema, graph, tensors).model(description)
    builder = flatbuffers.Builder(size + 65536)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(builder.Output())


@cache
def operator_table() -> dict[str, dict[str, Any]]:
    """Operator -> its options table and its version for float and for int8 operands."""
    text = (Path(__file__).parent / "operators.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def _list_tensors(graph: Graph) -> list[Tensor]:
    found: dict[Tensor, None] = dict.fromkeys(graph.inputs)
    for operator in graph.operators:
        found.update(dict.fromkeys(item for item in operator.inputs if item is not None))
        found.update(dict.fromkeys(operator.outputs))
    found.update(dict.fromkeys(graph.outputs))
    return list(found)


class _Writer:
    """Fills the schema's object tables in one fixed order."""

    def __init__(self, schema: Any, graph: Graph, tensors: list[Tensor]) -> None:
        self.schema = schema
        self.graph = graph
        self.tensors = tensors
        self.index = {tensor: number for number, tensor in enumerate(tensors)}
        self.buffers: list[Any] = [schema.BufferT()]
        self.by_digest: dict[str, int] = {}
        self.codes: dict[tuple[str, int], int] = {}

    def model(self, description: str) -> Any:
        model = self.schema.ModelT()
        model.version = 3
        model.description = description
        model.subgraphs = [self._subgraph()]
        model.buffers = self.buffers
        model.operatorCodes = [self._code(name, version) for name, version in self.codes]
        model.signatureDefs = [self._signature()]
        return model

    def _subgraph(self) -> Any:
        table = self.schema.SubGraphT()
        table.name = "main"
        table.tensors = [self._tensor(number, tensor) for number, tensor in enumerate(self.tensors)]
        table.inputs = self._indices(self.graph.inputs)
        table.outputs = self._indices(self.graph.outputs)
        table.operators = [self._operator(operator) for operator in self.graph.operators]
        return table

    def _indices(self, tensors: Any) -> Any:
        return np.array([-1 if item is None else self.index[item] for item in tensors], np.int32)

    def _tensor(self, number: int, tensor: Tensor) -> Any:
        table = self.schema.TensorT()
        table.name = tensor.name or f"t{number}"
        table.shape = np.array(tensor.shape, np.int32)
        table.hasRank = True
        table.type = getattr(self.schema.TensorType, tensor.dtype.upper())
        table.buffer = 0 if tensor.data is None else self._buffer(tensor.data)
        if tensor.quant is not None:
            quant = self.schema.QuantizationParametersT()
            quant.scale = np.array(tensor.quant.scales, np.float32)
            quant.zeroPoint = np.full(len(tensor.quant.scales), tensor.quant.zero_point, np.int64)
            quant.quantizedDimension = tensor.quant.axis
            table.quantization = quant
        return table

    def _buffer(self, data: Any) -> int:
        raw = data.tobytes()
        digest = hashlib.sha256(raw).hexdigest()
        if digest not in self.by_digest:
            self.by_digest[digest] = len(self.buffers)
            self.buffers.append(_aligned_buffer(self.schema, raw))
        return self.by_digest[digest]

    def _operator(self, operator: Operator) -> Any:
        row = operator_table()[operator.code]
        integer = any(item is not None and item.dtype == "int8" for item in operator.inputs)
        version = max(row.get("int8_version", 1) if integer else 1, row.get("version", 1))
        table = self.schema.OperatorT()
        table.opcodeIndex = self.codes.setdefault((operator.code, version), len(self.codes))
        table.inputs = self._indices(operator.inputs)
        table.outputs = self._indices(operator.outputs)
        name = row.get("options")
        if name:
            options = getattr(self.schema, f"{name}T")()
            for field, value in operator.options.items():
                if not hasattr(options, field):
                    raise AttributeError(f"{name} has no field {field}")
                setattr(options, field, self._enum(field, value))
            second = hasattr(self.schema.BuiltinOptions2, name)
            holder = self.schema.BuiltinOptions2 if second else self.schema.BuiltinOptions
            suffix = "2" if second else ""
            setattr(table, f"builtinOptions{suffix}Type", getattr(holder, name))
            setattr(table, f"builtinOptions{suffix}", options)
        elif operator.options:
            raise AttributeError(f"{operator.code} has no options")
        return table

    def _enum(self, field: str, value: Any) -> Any:
        """Schema enums are given by name: the field says which one."""
        if not isinstance(value, str):
            return value
        if field == "fusedActivationFunction":
            return getattr(self.schema.ActivationFunctionType, value)
        if field == "padding":
            return getattr(self.schema.Padding, value)
        if field == "mode":
            return getattr(self.schema.MirrorPadMode, value)
        return getattr(self.schema.TensorType, value.upper())

    def _code(self, name: str, version: int) -> Any:
        table = self.schema.OperatorCodeT()
        number = getattr(self.schema.BuiltinOperator, name)
        # Old readers know only the byte; newer codes than it holds are marked by 127.
        table.deprecatedBuiltinCode = min(number, 127)
        table.builtinCode = number
        table.version = version
        return table

    def _signature(self) -> Any:
        table = self.schema.SignatureDefT()
        table.signatureKey = "serving_default"
        table.subgraphIndex = 0
        table.inputs = [self._named(tensor) for tensor in self.graph.inputs]
        table.outputs = [self._named(tensor) for tensor in self.graph.outputs]
        return table

    def _named(self, tensor: Tensor) -> Any:
        table = self.schema.TensorMapT()
        table.name = tensor.name
        table.tensorIndex = self.index[tensor]
        return table


def _aligned_buffer(schema: Any, raw: bytes) -> Any:
    """A BufferT whose bytes start on a 16-byte boundary, as the schema asks."""

    class Aligned(schema.BufferT):  # type: ignore[misc]  # the generated schema has no types
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            builder.StartVector(1, len(raw), _ALIGNMENT)
            builder.head = builder.head - len(raw)
            builder.Bytes[builder.head : builder.head + len(raw)] = raw
            vector = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return Aligned()
