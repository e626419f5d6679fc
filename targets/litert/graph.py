"""A LiteRT graph as plain values: tensors and operators, before any byte of a flatbuffer is written."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from numpy.typing import NDArray

    Shape = tuple[int, ...]


# What a tensor may hold: what LiteRT's kernels compute on (int4: weights only).
DTYPES = frozenset(("float32", "int8", "uint8", "int16", "int32", "int64", "bool", "float16", "int4"))
# What activations are rounded to.
ROUNDED = frozenset(("int8", "int16"))


@dataclass(frozen=True, eq=False)
class Blocks:
    """Scales of a matrix [N, K] whose rows share one each `size` entries: [N, K / size], held by fp16."""

    scales: NDArray[np.float16]
    size: int


@dataclass(frozen=True)
class Quant:
    """real = (q - zero_point) * scale; one scale for the tensor, or one for each entry of `axis`.

    `blocks` stand in for the scales of int4 weights in blocks.
    """

    scales: tuple[float, ...]
    zero_point: int = 0
    axis: int = 0
    blocks: Blocks | None = None

    @property
    def scale(self) -> float:
        return self.scales[0]


@dataclass(eq=False)
class Tensor:
    """One tensor: a constant where `data` is there. `dtype` is numpy's name."""

    shape: Shape
    dtype: str
    data: NDArray[Any] | None = None
    quant: Quant | None = None
    name: str = ""
    # The int8 constant that a float one was restored from, along with its scales.
    integers: Tensor | None = None

    @property
    def rank(self) -> int:
        return len(self.shape)

    @property
    def size(self) -> int:
        return int(np.prod(self.shape, dtype=np.int64))


@dataclass(eq=False)
class Operator:
    """One builtin operator; `options` are the fields of its options table, by the schema's names."""

    code: str
    inputs: tuple[Tensor | None, ...]
    outputs: tuple[Tensor, ...]
    options: dict[str, Any] = field(default_factory=dict)


@dataclass
class Graph:
    """The one subgraph of a model; tensors are named when it is written."""

    inputs: list[Tensor] = field(default_factory=list)
    outputs: list[Tensor] = field(default_factory=list)
    operators: list[Operator] = field(default_factory=list)

    def add(
        self,
        code: str,
        inputs: Sequence[Tensor | None],
        out: Tensor,
        options: Mapping[str, Any] | None = None,
    ) -> Tensor:
        """Append a one-output operator and return its output."""
        self.operators.append(Operator(code, tuple(inputs), (out,), dict(options or {})))
        return out


def constant(values: NDArray[Any], quant: Quant | None = None) -> Tensor:
    """A constant tensor of the array's own dtype and shape; a view stays one until it is written."""
    array = np.asarray(values)
    return Tensor(array.shape, array.dtype.name, array, quant)


def int32s(values: Sequence[int]) -> Tensor:
    """A constant vector of int32: shapes, axes and paddings."""
    return constant(np.asarray(values, np.int32))
