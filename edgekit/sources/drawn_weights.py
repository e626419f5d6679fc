"""Weights that are drawn when they are read: full size on a disk and in a memory that hold a tensor of it."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.errors import SourceError
from edgekit.sources.shape_only import SEED, ShapeOnlyTensor

if TYPE_CHECKING:
    from pathlib import Path
    from typing import BinaryIO

    from numpy.typing import NDArray


_SPREAD = 0.02  # of matrices, as transformers start from; vectors lie around 1
_CHUNK = 2**17  # numbers that stay in the cache of a core until they are where they belong


class DrawnTensor(ir.ExternalTensor):
    """A float32 weight of normal numbers that bfloat16 holds, the same each time it is read.

    They follow from seed, parameter and shape. A transposed matrix is the transpose, so that a table and the
    head tied to it stay so.
    """

    def __init__(self, hollow: ShapeOnlyTensor, seed: int) -> None:
        super().__init__(
            hollow.location,
            hollow.offset,
            hollow.length,
            hollow.dtype,
            shape=ir.Shape(hollow.shape.numpy()),
            name=hollow.name or "",
        )
        self.seed = seed

    def numpy(self) -> NDArray[np.float32]:
        """The numbers, drawn anew."""
        shape = tuple(self.shape.numpy())
        made = np.empty(shape, np.float32)
        rows = made.T if len(shape) == 2 and shape[0] < shape[1] else made
        _draw((self.seed, self.offset or 0), np.atleast_1d(rows), mean=1.0 if len(shape) == 1 else 0.0)
        return made

    def tobytes(self) -> bytes:
        return self.numpy().tobytes()

    def tofile(self, file: BinaryIO) -> None:
        file.write(self.numpy().data)


def has_drawn_weights(model: ir.Model) -> bool:
    """Whether weights of a model are drawn when they are read."""
    return any(
        isinstance(value.const_value, DrawnTensor)
        for graph in model.graphs()
        for value in graph.initializers.values()
    )


def draw_weights(model: ir.Model, path: Path) -> None:
    """Weights in place of shapes in a model that was exported with a seed for them; others stay as they are.

    SourceError for a seed that is none, and a weight that is not float32.
    """
    seed = model.metadata_props.get(SEED)
    if seed is None:
        return
    if re.fullmatch(r"[0-9]{1,9}", seed) is None:
        raise SourceError(f"{path}: {SEED} is {seed[:40]!r}, no seed", fix="export the model again")
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ShapeOnlyTensor):
                if tensor.dtype != ir.DataType.FLOAT:
                    raise SourceError(
                        f"{path}: weight '{value.name}' is {tensor.dtype.name}, and random ones are float32",
                        fix="export the module in float32",
                    )
                value.const_value = DrawnTensor(tensor, int(seed))


def _draw(seed: tuple[int, int], made: NDArray[np.float32], *, mean: float) -> None:
    """Fill `made`, which need not lie in a row, with normal numbers around `mean` that bfloat16 holds."""
    random = np.random.default_rng(seed)
    count = max(1, _CHUNK // max(1, made[:1].size))
    for start in range(0, len(made), count):
        part = made[start : start + count]
        drawn = random.standard_normal(part.shape, dtype=np.float32)
        drawn *= _SPREAD
        drawn += mean
        bits = drawn.view(np.uint32)
        bits += 0x8000
        bits &= 0xFFFF0000
        part[...] = drawn
