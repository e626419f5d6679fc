"""Graph -> a .tflite file; the same graph always gives the same bytes."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import MissingToolError
from edgekit.targets.litert.buffer_bytes import byte_pieces, count_bytes, digest_bytes
from edgekit.targets.litert.graph import constant
from edgekit.targets.litert.shared_vectors import make_builder

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.targets.litert.graph import Graph, Operator, Quant, Tensor

INSTALL = 'pip install "ai-edge-litert>=2.3" "flatbuffers>=25"'
_ALIGNMENT = 16  # `force_align: 16` of Buffer.data in the public schema


def write_tflite(graph: Graph, *, description: str) -> bytes:
    """One subgraph, one signature, all in one flatbuffer, whose weights are at most 2 GB."""
    size = constant_bytes(graph)
    schema = load_schema()
    model = ModelWriter(schema, graph, lambda data: inline_buffer(schema, data)).model(description)
    return pack_model(model, size)


def load_schema() -> Any:
    """LiteRT's generated schema (it has no types); MissingToolError without ai-edge-litert."""
    try:
        from ai_edge_litert import schema_py_generated as schema
    except ImportError as error:
        raise MissingToolError("ai-edge-litert is not installed", fix=INSTALL) from error
    return schema


def pack_model(model: Any, size: int) -> bytes:
    """The flatbuffer of the schema's object tables, which hold about `size` bytes."""
    try:
        import flatbuffers
    except ImportError as error:
        raise MissingToolError("flatbuffers is not installed", fix=INSTALL) from error
    builder = make_builder(flatbuffers, size + 65536)
    builder.Finish(model.Pack(builder), file_identifier=b"TFL3")
    return bytes(memoryview(builder.Bytes)[builder.Head() :])  # Output() would copy it once more


def constant_bytes(graph: Graph) -> int:
    """Bytes of all constants; those that several tensors hold alike count each time."""
    return sum(count_bytes(tensor.data) for tensor in list_tensors(graph) if tensor.data is not None)


@cache
def operator_table() -> dict[str, dict[str, Any]]:
    """Operator -> its options table and its version for float and for int8 operands."""
    text = (Path(__file__).parent / "operators.toml").read_text(encoding="utf-8")
    return tomllib.loads(text)


def list_tensors(graph: Graph) -> list[Tensor]:
    """Every tensor once, in the order of use."""
    found: dict[Tensor, None] = dict.fromkeys(graph.inputs)
    for operator in graph.operators:
        found.update(dict.fromkeys(item for item in operator.inputs if item is not None))
        found.update(dict.fromkeys(operator.outputs))
    found.update(dict.fromkeys(graph.outputs))
    return list(found)


class ModelWriter:
    """Fills the schema's object tables in one fixed order; `store` makes the BufferT of a constant."""

    def __init__(self, schema: Any, graph: Graph, store: Callable[[NDArray[Any]], Any]) -> None:
        self.schema = schema
        self.graph = graph
        self.store = store
        self.tensors = list_tensors(graph)
        self.scales = [_scale_tensor(tensor) for tensor in self.tensors if _has_blocks(tensor)]
        self.tensors += self.scales
        self.index = {tensor: number for number, tensor in enumerate(self.tensors)}
        self.taken = {tensor.name for tensor in self.tensors}
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
        table.name = tensor.name or self._free_name(number)
        table.shape = np.array(tensor.shape, np.int32)
        table.hasRank = True
        table.type = getattr(self.schema.TensorType, tensor.dtype.upper())
        table.buffer = 0 if tensor.data is None else self._buffer(tensor.data)
        if tensor.quant is not None:
            table.quantization = self._quantization(tensor.quant)
        return table

    def _free_name(self, number: int) -> str:
        name = f"t{number}"
        while name in self.taken:
            name += "_"
        return name

    def _quantization(self, quant: Quant) -> Any:
        table = self.schema.QuantizationParametersT()
        table.quantizedDimension = quant.axis
        if quant.blocks is None:
            table.scale = np.array(quant.scales, np.float32)
            table.zeroPoint = np.full(len(quant.scales), quant.zero_point, np.int64)
            return table
        details = self.schema.BlockwiseQuantizationT()
        scales = next(item for item in self.scales if item.data is quant.blocks.scales)
        details.scales, details.zeroPoints, details.blockSize = self.index[scales], -1, quant.blocks.size
        table.detailsType = self.schema.QuantizationDetails.BlockwiseQuantization
        table.details = details
        return table

    def _buffer(self, data: NDArray[Any]) -> int:
        digest = digest_bytes(data)
        if digest not in self.by_digest:
            self.by_digest[digest] = len(self.buffers)
            self.buffers.append(self.store(data))
        return self.by_digest[digest]

    def _operator(self, operator: Operator) -> Any:
        row = operator_table()[operator.code]
        version = _version(operator, row)
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


def _version(operator: Operator, row: dict[str, Any]) -> int:
    """Of the operator for what it computes on: float, int8, int16, or float data with integer weights."""
    integers = [item for item in operator.inputs if item is not None and item.dtype in ("int8", "int4")]
    key = "version"
    if any(
        item is not None and item.dtype == "int16" and item.quant
        for item in (*operator.inputs, *operator.outputs)
    ):
        key = "int16_version"
    elif integers:
        weights_only = operator.outputs[0].dtype == "float32" and all(
            item.data is not None for item in integers
        )
        key = "weights_version" if weights_only and "weights_version" in row else "int8_version"
    return max(int(row.get(key, 1)), int(row.get("version", 1)))


def _has_blocks(tensor: Tensor) -> bool:
    return tensor.quant is not None and tensor.quant.blocks is not None


def _scale_tensor(tensor: Tensor) -> Tensor:
    """The tensor that holds a blockwise tensor's scales."""
    assert tensor.quant is not None
    assert tensor.quant.blocks is not None
    return constant(tensor.quant.blocks.scales)


def inline_buffer(schema: Any, data: NDArray[Any]) -> Any:
    """A BufferT whose bytes start on a 16-byte boundary, as the schema asks."""

    class Aligned(schema.BufferT):  # type: ignore[misc]  # the generated schema has no types
        def Pack(self, builder: Any) -> Any:  # noqa: N802 - the schema's name
            size = count_bytes(data)
            builder.StartVector(1, size, _ALIGNMENT)
            builder.head = place = builder.head - size
            for piece in byte_pieces(data):
                builder.Bytes[place : place + len(piece)] = piece
                place += len(piece)
            vector = builder.EndVector()
            schema.BufferStart(builder)
            schema.BufferAddData(builder, vector)
            return schema.BufferEnd(builder)

    return Aligned()
