"""The right side of a product of two 16-bit tensors -> int16 around 0, which the HTP takes as it is.

A uint16 right side is computed in 8 bits, whatever its zero-point: 42 dB from the Q/DQ graph, where an int16
one is at 69 (attention's products on random data, onnxruntime-qnn 2.7 on x86). Hexagon v68 has none.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.pairs import add_pair, grid_of
from edgekit.passes._rewire import Names, input_of

if TYPE_CHECKING:
    import onnx_ir as ir

_LARGEST = np.iinfo(np.int16).max


def widen_products(model: ir.Model) -> int:
    """Change `model` itself; returns how many were re-expressed. They lose one of 16 bits at most."""
    names, changed = Names(model), 0
    for node in tuple(model.graph):
        right = input_of(node, 1) if node.op_type == "MatMul" and not node.domain else None
        producer = None if right is None else right.producer()
        if right is None or producer is None or producer.op_type != "DequantizeLinear":
            continue
        grid = grid_of(producer)
        if grid is None or grid.dtype != np.uint16:
            continue
        step = max(-grid.low, grid.high) / _LARGEST
        node.replace_input_with(1, add_pair(model.graph, right, step, np.array(0, np.int16), names))
        changed += 1
    return changed
