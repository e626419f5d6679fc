"""Turns the specification's messages into a Program's values; nothing is computed and nothing folded."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, CannotRunHere
from edgekit.targets.coreml.interpret.package import find_inside
from edgekit.targets.coreml.interpret.program import (
    BITS,
    STORAGE,
    Block,
    Function,
    Operation,
    Output,
    Ref,
    TensorType,
)
from edgekit.targets.coreml.interpret.weight_file import WeightFile

if TYPE_CHECKING:
    from edgekit.targets.coreml.interpret.package import Package

_FIELDS = ("floats", "ints", "bools", "strings", "longInts", "doubles")
_MODEL_PATH = "@model_path/"
_MAX_DEPTH = 16


class _Reader:
    """Reads one package's functions; weight files are opened once."""

    def __init__(self, package: Package) -> None:
        self._package = package
        self._files: dict[str, WeightFile] = {}

    def function(self, name: str, spec: Any) -> Function:
        if spec.opset not in spec.block_specializations:
            raise self._damaged(f"function '{name}' has no block for its opset '{spec.opset}'")
        block = self._block(spec.block_specializations[spec.opset], 0)
        return Function(name, spec.opset, tuple(self._named(item) for item in spec.inputs), block)

    def _block(self, spec: Any, depth: int) -> Block:
        if depth > _MAX_DEPTH:
            raise CannotRunHere(
                f"{self._package.name}: blocks are nested more than {_MAX_DEPTH} deep",
                fix="simplify the model's control flow",
            )
        operations = tuple(self._operation(item, depth) for item in spec.operations)
        return Block(tuple(self._named(item) for item in spec.inputs), operations, tuple(spec.outputs))

    def _operation(self, spec: Any, depth: int) -> Operation:
        outputs = tuple(self._named(item) for item in spec.outputs)
        name = outputs[0].name if outputs else spec.type
        inputs = {key: self._arguments(item) for key, item in spec.inputs.items()}
        # iOS 16's constexpr ops keep their parameters among the attributes.
        attributes = {key: self._value(item) for key, item in spec.attributes.items() if key != "name"}
        value = attributes.pop("val", None) if spec.type == "const" else None
        if spec.type == "const" and value is None:
            raise self._damaged(f"const '{name}' has no value")
        inputs |= {key: (item,) for key, item in attributes.items()}
        blocks = tuple(self._block(item, depth + 1) for item in spec.blocks)
        return Operation(spec.type, name, inputs, outputs, blocks, value)

    def _arguments(self, spec: Any) -> tuple[Any, ...]:
        return tuple(
            Ref(item.name) if item.WhichOneof("binding") == "name" else self._value(item.value)
            for item in spec.arguments
        )

    def _named(self, spec: Any) -> Output:
        return Output(spec.name, self._type(spec.type))

    def _type(self, spec: Any) -> TensorType | None:
        kind = spec.WhichOneof("type")
        if kind == "stateType":
            wrapped = self._type(spec.stateType.wrappedType)
            return wrapped and TensorType(wrapped.dtype, wrapped.shape, "state")
        if kind != "tensorType":
            return None
        tensor = spec.tensorType
        if tensor.rank != len(tensor.dimensions):
            raise self._damaged(f"a tensor of rank {tensor.rank} has {len(tensor.dimensions)} dims")
        return TensorType(self._dtype(tensor.dataType), tuple(map(_dim, tensor.dimensions)))

    def _dtype(self, number: int) -> str:
        from coremltools.proto import MIL_pb2

        name = MIL_pb2.DataType.Name(number) if number in MIL_pb2.DataType.values() else str(number)
        dtype = name.lower()
        if dtype not in STORAGE:
            raise CannotRunHere(
                f"{self._package.name}: numpy holds no {name}", fix="build the model with float16 or float32"
            )
        return dtype

    def _value(self, spec: Any) -> Any:
        """numpy array, or a list or dict of values."""
        if spec.WhichOneof("value") == "immediateValue":
            inner = spec.immediateValue
            kind = inner.WhichOneof("value")
            if kind == "list":
                return [self._value(item) for item in inner.list.values]
            if kind == "tuple":
                return tuple(self._value(item) for item in inner.tuple.values)
            if kind == "dictionary":
                return {
                    self._value(item.key).item(): self._value(item.value) for item in inner.dictionary.values
                }
        declared = self._type(spec.type)
        if declared is None or None in declared.shape:
            raise self._damaged("a constant has no fixed tensor type")
        if spec.WhichOneof("value") == "blobFileValue":
            raw = self._weights(spec.blobFileValue.fileName).read(spec.blobFileValue.offset, declared.dtype)
            return self._from_bytes(raw, declared)
        return self._immediate(spec.immediateValue.tensor, declared)

    def _immediate(self, tensor: Any, declared: TensorType) -> np.ndarray:
        field = tensor.WhichOneof("value")
        if field == "bytes":
            return self._from_bytes(np.frombuffer(tensor.bytes.values, np.uint8), declared)
        values = getattr(tensor, field).values if field in _FIELDS else ()
        if len(values) != math.prod(_fixed(declared)):
            raise self._damaged(f"a constant of {declared} holds {len(values)} values")
        return np.array(list(values), dtype=STORAGE[declared.dtype]).reshape(_fixed(declared))

    def _from_bytes(self, raw: np.ndarray, declared: TensorType) -> np.ndarray:
        shape = _fixed(declared)
        count = math.prod(shape)
        storage = np.dtype(STORAGE[declared.dtype])
        bits = BITS.get(declared.dtype, 8 * storage.itemsize)
        if declared.dtype == "string" or raw.size != (count * bits + 7) // 8:
            raise self._damaged(f"a constant of {declared} has {raw.size} bytes")
        if declared.dtype in BITS:
            return _unpack(raw, count, declared.dtype).reshape(shape)
        return raw.view(storage).reshape(shape)

    def _weights(self, name: str) -> WeightFile:
        if name not in self._files:
            relative = name.removeprefix(_MODEL_PATH)
            folder = self._package.folder.relative_to(self._package.root).as_posix()
            inside = relative if folder == "." else f"{folder}/{relative}"
            path = find_inside(self._package.root, inside, self._package.name)
            self._files[name] = WeightFile(path, self._package.name)
        return self._files[name]

    def _damaged(self, what: str) -> BundleError:
        return BundleError(f"{self._package.name}: {what}", fix="build the package again")


def read_functions(package: Package) -> dict[str, Function]:
    """Every function of the program. BundleError where specification or weights contradict themselves."""
    reader = _Reader(package)
    functions = package.model.mlProgram.functions
    return {name: reader.function(name, functions[name]) for name in sorted(functions)}


def _dim(spec: Any) -> int | None:
    return int(spec.constant.size) if spec.WhichOneof("dimension") == "constant" else None


def _fixed(declared: TensorType) -> tuple[int, ...]:
    return tuple(size for size in declared.shape if size is not None)


def _unpack(raw: np.ndarray, count: int, dtype: str) -> np.ndarray:
    """Packed little-endian bit fields -> one value a byte; int4 is two's complement."""
    bits = BITS[dtype]
    fields = np.unpackbits(raw, bitorder="little")[: count * bits].reshape(count, bits)
    weights = (1 << np.arange(bits)).astype(np.int16)
    if dtype.startswith("int"):
        weights[-1] = -weights[-1]
    return (fields @ weights).astype(STORAGE[dtype])
