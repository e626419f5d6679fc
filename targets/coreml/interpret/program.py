"""A Core ML program as plain values: functions, blocks, operations, constants and declared types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

# The program's dtype -> how numpy holds it. Integers of less than 8 bits are held one to a byte.
STORAGE: Mapping[str, type[np.generic]] = {
    "bool": np.bool_,
    "float16": np.float16,
    "float32": np.float32,
    "float64": np.float64,
    "int4": np.int8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "int64": np.int64,
    "uint1": np.uint8,
    "uint2": np.uint8,
    "uint3": np.uint8,
    "uint4": np.uint8,
    "uint6": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
    "uint32": np.uint32,
    "uint64": np.uint64,
    "string": np.str_,
}
BITS: Mapping[str, int] = {"int4": 4, "uint1": 1, "uint2": 2, "uint3": 3, "uint4": 4, "uint6": 6}


@dataclass(frozen=True)
class TensorType:
    """Declared dtype and shape; a dim that is only known at run time is None. `kind` state is a state's."""

    dtype: str
    shape: tuple[int | None, ...]
    kind: str = "tensor"

    def __str__(self) -> str:
        return f"{self.dtype}[{', '.join('?' if size is None else str(size) for size in self.shape)}]"

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether a value of this shape is what was declared."""
        return len(shape) == len(self.shape) and all(
            want is None or want == size for want, size in zip(self.shape, shape, strict=True)
        )


@dataclass(frozen=True)
class Ref:
    """An argument that names a value."""

    name: str


@dataclass(frozen=True)
class Output:
    """A named result; `type` is None for what is no tensor (lists, dictionaries)."""

    name: str
    type: TensorType | None


@dataclass(frozen=True)
class Operation:
    """One operation; `inputs` holds what each parameter was given, `value` is set for const only."""

    type: str
    name: str
    inputs: Mapping[str, tuple[Ref | Any, ...]]
    outputs: tuple[Output, ...]
    blocks: tuple[Block, ...] = ()
    value: Any = None


@dataclass(frozen=True)
class Block:
    """Operations in order, the names of its own inputs (loops) and of what it gives back."""

    inputs: tuple[Output, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True)
class Function:
    """One function of the program under its active opset (`CoreML5` is iOS 15, `CoreML6` iOS 16 ...)."""

    name: str
    opset: str
    inputs: tuple[Output, ...]
    block: Block


def walk(block: Block) -> Iterator[Operation]:
    """Every operation, those of nested blocks after the one that holds them."""
    for operation in block.operations:
        yield operation
        for nested in operation.blocks:
            yield from walk(nested)


def op_names(block: Block) -> list[str]:
    """The op types of a block and its nested blocks in order, constants left out."""
    return [op.type for op in walk(block) if op.type != "const" and not op.type.startswith("constexpr_")]


def tensor_types(function: Function) -> dict[str, TensorType]:
    """Declared dtype and shape of every tensor of a function, its inputs and those of its blocks included."""
    named = [*function.inputs, *(output for op in walk(function.block) for output in op.outputs)]
    named += [item for op in walk(function.block) for block in op.blocks for item in block.inputs]
    return {output.name: output.type for output in named if output.type is not None}
