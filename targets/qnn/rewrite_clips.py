"""Clip between Q/DQ pairs -> Relu, or Max and Min: Qualcomm's compiler loses a Clip behind a convolution.

Folded into it, it clips elsewhere or nowhere: 120 steps off on uint8, half the range on uint16, with
onnxruntime-qnn 2.7 on x86. Relu, Max and Min behind the same convolutions are right.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.pairs import grid_of
from edgekit.passes._rewire import Names, constant_array, input_of

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._qdq.pairs import Grid


def rewrite_clips(model: ir.Model) -> int:
    """Change `model` itself; returns how many Clips were replaced or dropped. Codes stay what they were."""
    names, changed = Names(model), 0
    for clip in list(model.graph):
        grid = _common_grid(clip)
        if grid is None:
            continue
        low, high = (_bound(clip, index, absent) for index, absent in ((1, -np.inf), (2, np.inf)))
        # A bound within half a step of the last code moves no code.
        keeps_low, keeps_high = low <= grid.low + grid.step / 2, high >= grid.high - grid.step / 2
        value = clip.inputs[0]
        assert value is not None
        if not keeps_low and low == 0 and keeps_high:
            value = names.insert_before(clip, "Relu", [value])
        else:
            if not keeps_low:
                value = _limit(clip, value, "Max", low, names)
            if not keeps_high:
                value = _limit(clip, value, "Min", high, names)
        (quantize, index), *_ = clip.outputs[0].uses()
        quantize.replace_input_with(index, value)
        model.graph.remove(clip, safe=True)
        changed += 1
    return changed


def _common_grid(clip: ir.Node) -> Grid | None:
    """The one grid before and behind a Clip; None where there is none."""
    if clip.op_type != "Clip" or clip.domain or clip.inputs[0] is None or clip.outputs[0].is_graph_output():
        return None
    before = clip.inputs[0].producer()
    readers = [reader for reader, _ in clip.outputs[0].uses()]
    if before is None or before.op_type != "DequantizeLinear" or len(readers) != 1:
        return None
    behind = readers[0]
    if behind.op_type != "QuantizeLinear" or any(
        value is not None and constant_array(value) is None for value in clip.inputs[1:]
    ):
        return None
    grids = [grid_of(node) for node in (before, behind)]
    return grids[0] if grids[0] == grids[1] else None


def _bound(clip: ir.Node, index: int, absent: float) -> float:
    array: NDArray[np.generic] | None = constant_array(input_of(clip, index))
    return absent if array is None else float(array.item())


def _limit(clip: ir.Node, value: ir.Value, op: str, bound: float, names: Names) -> ir.Value:
    """value -> op with the bound, in float: on the HTP in float16, exact to the step for 8-bit codes."""
    assert clip.graph is not None
    constant = names.add_initializer(clip.graph, f"{clip.name}/{op.lower()}", np.array(bound, np.float32))
    made = names.insert_before(clip, op, [value, constant])
    made.shape, made.type = clip.outputs[0].shape, clip.outputs[0].type
    return made
