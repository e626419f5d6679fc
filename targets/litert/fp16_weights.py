"""float32 constants -> float16 behind a DEQUANTIZE: half the bytes, float32 arithmetic or the GPU's own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Graph, Operator, Tensor, constant

if TYPE_CHECKING:
    from numpy.typing import NDArray

_SMALLEST = 32  # elements; a DEQUANTIZE costs more than smaller constants save
_LARGEST = float(np.finfo(np.float16).max)


def to_fp16_weights(graph: Graph) -> int:
    """Rewrite in place; returns how many constants stay float32 because fp16 cannot hold their range."""
    made: dict[Tensor, Tensor] = {}
    head: list[Operator] = []
    kept: set[Tensor] = set()
    for operator in graph.operators:
        inputs = list(operator.inputs)
        for index, tensor in enumerate(inputs):
            if tensor is None or tensor.data is None or tensor.dtype != "float32" or tensor.size < _SMALLEST:
                continue
            if not _holds(tensor.data):
                kept.add(tensor)
                continue
            if tensor not in made:
                made[tensor] = Tensor(tensor.shape, "float32")
                head.append(
                    Operator("DEQUANTIZE", (constant(tensor.data.astype(np.float16)),), (made[tensor],))
                )
            inputs[index] = made[tensor]
        operator.inputs = tuple(inputs)
    graph.operators[:0] = head
    return len(kept)


def _holds(values: NDArray[np.float32]) -> bool:
    return bool(np.all(np.abs(values) <= _LARGEST))
