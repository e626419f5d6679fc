"""Narrows the range in front of a pointwise chain to where the chain still changes its result.

A hard swish is flat below -3: an int8 step spent down there is wasted. Clipping a tensor to the
interval outside of which the chain's result moves by less than a part of its own quantization step
changes nothing downstream, and leaves more levels for the values that count.
"""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes.serialize_model import serialize_model

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit._qdq.pointwise import PointwiseChain
    from edgekit.calibration.record import TensorRange

_GRID = 1025
_PART_OF_A_STEP = 0.25  # of the result's own 8-bit step: below what rounding there adds anyway
_STEPS = 255


def narrow_range(chain: PointwiseChain, seen: TensorRange) -> TensorRange:
    """`seen` clipped to where `chain` is not flat; unchanged where the chain cannot be evaluated."""
    low, high = find_useful_interval(chain, seen.clip_low, seen.clip_high)
    low, high = min(low, 0.0), max(high, 0.0)
    threshold = min(seen.threshold, max(-low, high))
    return replace(seen, clip_low=low, clip_high=high, threshold=threshold)


def find_useful_interval(chain: PointwiseChain, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] outside of which `chain` is flat, within a part of its result's 8-bit step."""
    rank = len(chain.input.shape) if chain.input.shape is not None else 0
    if not low < high or rank == 0:
        return low, high
    return _find_interval(serialize_model(_as_model(chain, rank)), rank, low, high)


@lru_cache(maxsize=4096)  # both schemes of one convert ask the same
def _find_interval(model: bytes, rank: int, low: float, high: float) -> tuple[float, float]:
    grid = np.linspace(low, high, _GRID, dtype=np.float32)
    results = _evaluate(model, grid.reshape((-1,) + (1,) * (rank - 1)))
    if results is None or not np.isfinite(results).all():
        return low, high
    tolerance = _PART_OF_A_STEP * np.ptp(results, axis=0) / _STEPS
    last = _GRID - 1 - _first_needed(results[::-1], tolerance)
    return float(grid[_first_needed(results, tolerance)]), float(grid[last])


def _first_needed(results: NDArray[np.float32], tolerance: NDArray[np.float32]) -> int:
    """Largest index whose result stands for all results before it, within `tolerance`."""
    above = np.maximum.accumulate(results, axis=0) - results
    below = results - np.minimum.accumulate(results, axis=0)
    stands = (np.maximum(above, below) <= tolerance).all(axis=1)
    return int(np.flatnonzero(stands)[-1])


def _evaluate(model: bytes, grid: NDArray[np.float32]) -> NDArray[np.float32] | None:
    """The chain's results on the grid as [grid, channels]; None where its constants widen axis 0."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(model, options)
    results: NDArray[np.float32] = session.run(None, {"grid": grid})[0]
    return results.reshape(len(grid), -1) if results.shape[0] == len(grid) else None


def _as_model(chain: PointwiseChain, rank: int) -> ir.Model:
    """The chain alone, as a model from `grid` [grid, 1, ..., 1] to its result."""
    grid = ir.val("grid", dtype=ir.DataType.FLOAT, shape=ir.Shape((None,) + (1,) * (rank - 1)))
    made = {chain.input: grid}
    constants = []
    nodes: list[ir.Node] = []
    for node in chain.nodes:
        for value in node.inputs:
            if value is not None and value.const_value is not None and value not in made:
                made[value] = ir.val(str(value.name), const_value=value.const_value)
                constants.append(made[value])
        inputs = [None if value is None else made[value] for value in node.inputs]
        clone = ir.node(node.op_type, inputs, dict(node.attributes))
        clone.outputs[0].name = f"result{len(nodes)}"
        clone.outputs[0].dtype = ir.DataType.FLOAT
        made[node.outputs[0]] = clone.outputs[0]
        nodes.append(clone)
    graph = ir.Graph(
        [grid],
        [made[chain.output]],
        nodes=nodes,
        initializers=constants,
        opset_imports={"": chain.opset},
        name="chain",
    )
    return ir.Model(graph, ir_version=8)
