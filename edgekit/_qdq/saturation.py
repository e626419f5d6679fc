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

from edgekit.calibration.open_session import LOAD_FAILURES
from edgekit.passes.serialize_model import serialize_model

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgekit._qdq.pointwise import PointwiseChain
    from edgekit.calibration.record import TensorRange

    Floats = NDArray[np.float32]

_GRID = 1025
_PART_OF_A_STEP = 0.05  # of the result's own 8-bit step: below what rounding there adds anyway
_STEPS = 255
_MOST_CHANNELS = 4096  # a chain with more constants than this (a position table) is left alone: 16 MB a grid


def narrow_range(chain: PointwiseChain, seen: TensorRange) -> TensorRange:
    """`seen` clipped to where `chain` is not flat; unchanged where the chain cannot be evaluated.

    The symmetric threshold and the asymmetric clip range are each narrowed within themselves.
    """
    low, high = find_useful_interval(chain, seen.clip_low, seen.clip_high)
    kept = max(seen.low, -seen.threshold), min(seen.high, seen.threshold)
    left, right = find_useful_interval(chain, min(kept[0], 0.0), max(kept[1], 0.0))
    return replace(
        seen,
        clip_low=min(low, 0.0),
        clip_high=max(high, 0.0),
        threshold=min(seen.threshold, max(-left, right)),
    )


def find_useful_interval(chain: PointwiseChain, low: float, high: float) -> tuple[float, float]:
    """The part of [low, high] outside of which `chain` is flat, within a part of its result's 8-bit step.

    All of it where the chain cannot be evaluated, and where it is constant: then nothing is known of
    where it changes.
    """
    if not low < high or chain.input.shape is None or _count_channels(chain) > _MOST_CHANNELS:
        return low, high
    form = (chain.opset, len(chain.input.shape), *_describe(chain))
    place = _place_for(form, low, high)
    if not place:
        place.append(_find_interval(chain, low, high))
    return place[0]


@lru_cache(maxsize=4096)  # all forms of one convert ask the same
def _place_for(form: tuple[object, ...], low: float, high: float) -> list[tuple[float, float]]:
    """Where the answer for one question is kept, of which no graph is a part."""
    del form, low, high
    return []


def _describe(chain: PointwiseChain) -> Iterator[tuple[object, ...]]:
    """Each node's op and attributes, and each input as the place of its maker or as the constant itself.

    Equal for chains that compute the same, whatever their names.
    """
    places: dict[ir.Value, object] = {chain.input: "input"}
    for index, node in enumerate(chain.nodes):
        inputs = []
        for value in node.inputs:
            if value is None or value in places:
                inputs.append(None if value is None else places[value])
            elif value.const_value is not None:
                array = value.const_value.numpy()
                inputs.append((array.dtype.str, array.shape, array.tobytes()))
        attributes = sorted((name, repr(item.value)) for name, item in node.attributes.items())
        yield (node.domain, node.op_type, *inputs, *attributes)
        places[node.outputs[0]] = index


def _find_interval(chain: PointwiseChain, low: float, high: float) -> tuple[float, float]:
    grid = np.linspace(low, high, _GRID, dtype=np.float32)
    rank = len(chain.input.shape or ())
    results = _evaluate(serialize_model(_as_model(chain)), grid.reshape(-1, *[1] * rank))
    if results is None or not np.isfinite(results).all() or not np.ptp(results, axis=0).any():
        return low, high
    tolerance = _PART_OF_A_STEP * np.ptp(results, axis=0) / _STEPS
    first, last = _first_needed(results, tolerance), _GRID - 1 - _first_needed(results[::-1], tolerance)
    return (float(grid[first]) if first else low), (float(grid[last]) if last < _GRID - 1 else high)


def _first_needed(results: Floats, tolerance: Floats) -> int:
    """Largest index whose result stands for all results before it, within `tolerance`."""
    above = np.maximum.accumulate(results, axis=0) - results
    below = results - np.minimum.accumulate(results, axis=0)
    stands = (np.maximum(above, below) <= tolerance).all(axis=1)
    return int(np.flatnonzero(stands)[-1])


def _evaluate(model: bytes, grid: Floats) -> Floats | None:
    """The chain's results on the grid as [grid, channels]; None where ONNX Runtime cannot compute them."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 4
    try:
        session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        results = np.asarray(session.run(None, {"grid": grid})[0], np.float32)
    except LOAD_FAILURES:
        return None
    return results.reshape(len(grid), -1) if results.shape[:1] == (len(grid),) else None


def _as_model(chain: PointwiseChain) -> ir.Model:
    """The chain alone, from `grid` [grid, 1, ..., 1] to its result: one axis more than in its own graph.

    So constants broadcast as they do there. Equal chains give equal models, whatever their names.
    """
    rank = 0 if chain.input.shape is None else len(chain.input.shape)
    grid = ir.val("grid", dtype=ir.DataType.FLOAT, shape=ir.Shape((None,) + (1,) * rank))
    made = {
        value: ir.val(f"constant{index}", const_value=ir.tensor(array))
        for index, (value, array) in enumerate(_list_constants(chain).items())
    }
    constants = list(made.values())
    made[chain.input] = grid
    nodes = list[ir.Node]()
    for node in chain.nodes:
        inputs = [None if value is None else made[value] for value in node.inputs]
        twin = ir.node(node.op_type, inputs, dict(node.attributes))
        twin.outputs[0].name = f"result{len(nodes)}"
        twin.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        made[node.outputs[0]] = twin.outputs[0]
        nodes.append(twin)
    graph = ir.Graph(
        [grid],
        [made[chain.output]],
        nodes=nodes,
        initializers=constants,
        opset_imports={"": chain.opset},
        name="chain",
    )
    return ir.Model(graph, ir_version=8)


def _list_constants(chain: PointwiseChain) -> dict[ir.Value, NDArray[np.generic]]:
    values = [value for node in chain.nodes for value in node.inputs if value is not None]
    return {value: value.const_value.numpy() for value in values if value.const_value is not None}


def _count_channels(chain: PointwiseChain) -> int:
    """Entries that all constants together broadcast to."""
    shapes = [array.shape for array in _list_constants(chain).values()]
    return int(np.prod(np.broadcast_shapes(*shapes), dtype=np.int64))
