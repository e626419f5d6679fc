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
_CHUNK = 2**22


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
        ordered = tuple(sorted(shape, reverse=True)) if len(shape) == 2 else shape
        drawn = _draw((self.seed, self.offset or 0), ordered, mean=1.0 if len(shape) == 1 else 0.0)
        return drawn if ordered == shape else drawn.T

    def tobytes(self) -> bytes:
        return self.numpy().tobytes()

    def tofile(self, file: BinaryIO) -> None:
        file.write(np.ascontiguousarray(self.numpy()).data)


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


def _draw(seed: tuple[int, int], shape: tuple[int, ...], *, mean: float) -> NDArray[np.float32]:
    """Normal numbers around `mean`, rounded to bfloat16, a chunk at a time."""
    random = np.random.default_rng(seed)
    made = np.empty(shape, np.float32)
    flat = made.reshape(-1)
    for start in range(0, flat.size, _CHUNK):
        part = flat[start : start + _CHUNK]
        random.standard_normal(out=part, dtype=np.float32)
        part *= _SPREAD
        part += mean
        bits = part.view(np.uint32)
        bits += 0x8000
        bits &= 0xFFFF0000
    return made
