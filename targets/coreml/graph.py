"""A Core ML (MIL) program as plain values: tensors and operators, before coremltools sees any of it."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit._lowering import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    # A dim that only the run knows is its symbol's name.
    Shape = tuple[int | str, ...]
    # What an operator's parameter holds: a tensor, several, or a constant written as itself.
    Argument = "Tensor | Sequence[Tensor] | NDArray[Any] | bool | int | float | str | Sequence[int]"


MOST_DIMS = 5


@dataclass(frozen=True, eq=False)
class Packed:
    """Integers that a weight is restored from when the model loads: (integers - offset) * scale.

    `scale` and `offset` have the rank of `integers`; each dim of theirs divides the integers' dim into
    blocks (1: one scale along it). `bits` is 8 or 4.
    """

    integers: NDArray[Any]
    scale: NDArray[np.float32]
    offset: NDArray[Any] | None = None
    bits: int = 8

    def restore(self) -> NDArray[np.float32]:
        """The float32 weight."""
        values = self.integers.astype(np.float32)
        if self.offset is not None:
            values = values - _spread(self.offset, self.integers.shape).astype(np.float32)
        made: NDArray[np.float32] = values * _spread(self.scale, self.integers.shape)
        return made

    def transpose(self, order: Sequence[int]) -> Packed:
        """The same weight with its axes in another order."""
        offset = None if self.offset is None else self.offset.transpose(order)
        moved = np.ascontiguousarray(self.integers.transpose(order))
        return Packed(moved, self.scale.transpose(order), offset, self.bits)

    def expand(self, axis: int) -> Packed:
        """The same weight with a new axis of 1."""
        offset = None if self.offset is None else np.expand_dims(self.offset, axis)
        return Packed(
            np.expand_dims(self.integers, axis), np.expand_dims(self.scale, axis), offset, self.bits
        )


@dataclass(frozen=True, eq=False)
class Palette:
    """A weight as indices (uint8, of the weight's shape) into a table of 2^bits float32 values."""

    indices: NDArray[np.uint8]
    table: NDArray[np.float32]
    bits: int


def _spread(values: NDArray[Any], shape: Sequence[int]) -> NDArray[Any]:
    """Each block's value repeated over its block."""
    for axis, size in enumerate(shape):
        if values.shape[axis] not in (1, size):
            values = np.repeat(values, size // values.shape[axis], axis)
    return values


@dataclass(eq=False)
class Tensor:
    """One tensor: a constant where `array` or `packed` is there. `dtype` is numpy's name.

    `name` is the source's own, "" for what only edgekit made. With a `palette`, the file holds that in
    place of the array.
    """

    shape: Shape
    dtype: str
    array: NDArray[Any] | None = None
    packed: Packed | None = None
    name: str = ""
    palette: Palette | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def is_constant(self) -> bool:
        return self.array is not None or self.packed is not None

    @property
    def is_static(self) -> bool:
        return all(isinstance(dim, int) for dim in self.shape)

    @property
    def data(self) -> NDArray[Any] | None:
        """The values of a constant, restored where they are packed."""
        return self._restored if self.packed is not None else self.array

    @cached_property
    def _restored(self) -> NDArray[Any] | None:
        return None if self.packed is None else self.packed.restore()

    @property
    def sizes(self) -> tuple[int, ...]:
        """The shape where every dim is fixed. Raises Refused."""
        fixed = tuple(dim for dim in self.shape if isinstance(dim, int))
        if len(fixed) != len(self.shape):
            raise Refused(
                f"its operand has the dims {list(self.shape)}, and this form needs fixed ones",
                "give fixed sizes with --shape",
            )
        return fixed

    def fixed(self, axis: int) -> int:
        """The size of one axis. Raises Refused where only the run knows it."""
        dim = self.shape[axis]
        if isinstance(dim, str):
            raise Refused(
                f"axis {axis} of its operand has no fixed size, and this form needs one",
                "give a fixed size with --shape",
            )
        return dim

    @property
    def size(self) -> int:
        return int(np.prod(self.sizes, dtype=np.int64))


@dataclass(eq=False)
class Operator:
    """One MIL operation; `inputs` are its parameters by MIL's own names."""

    code: str
    inputs: dict[str, Any]
    outputs: tuple[Tensor, ...]


@dataclass(eq=False)
class Loop(Operator):
    """`while_loop` over a counter (int32 [1], the first of the variables) from 0 to `steps`.

    `variables` stand for the values that a step begins with, `body.outputs` are those it leaves; `outputs`
    are the last ones. `inputs` hold what they begin with, and what the body reads from around it.
    """

    steps: int
    variables: tuple[Tensor, ...]
    body: Graph


@dataclass
class Graph:
    """The one function of a program; `states` are read and written, and are neither inputs nor outputs."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    states: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def add(self, code: str, inputs: Mapping[str, Any], outputs: Sequence[Tensor]) -> None:
        """Append an operation."""
        self.operators.append(Operator(code, dict(inputs), tuple(outputs)))


def constant(values: NDArray[Any]) -> Tensor:
    """A constant tensor of the array's own shape; 64-bit integers count as int32 (Core ML has no others)."""
    array = np.ascontiguousarray(values).reshape(values.shape)
    return Tensor(array.shape, mil_dtype(array.dtype.name), array)


def mil_dtype(name: str) -> str:
    """ONNX's dtype (numpy's name) -> the one a program computes with."""
    return {"int64": "int32", "float16": "float32", "uint32": "int32", "uint64": "int32"}.get(name, name)
