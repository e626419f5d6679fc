"""Gives every channel of an activation the same reach, by moving per-channel factors into constants.

A per-tensor scale serves the loudest channel: beside a channel that reaches 22, one that reaches 0.3
keeps three levels of int8. Where constants stand on both sides of an activation (convolution weights
in front, a pointwise chain or a depthwise convolution behind), channel c can be divided by a factor in
front and multiplied by it behind. In float the model computes the same; in int8 each channel gets its
127 levels, in every runtime, with zero-point 0 and one scale a tensor.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq.equalize_edges import Edge, list_edges
from edgekit._qdq.lift_weights import lift_small_weights
from edgekit._qdq.saturation import find_useful_interval
from edgekit.calibration.open_session import open_session
from edgekit.passes._rewire import Names, constant_array, graph_of
from edgekit.passes._scale_weights import fold_scale
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from numpy.typing import NDArray

    from edgekit._values import Component
    from edgekit.calibration.samples import Samples

    Floats = NDArray[np.float64]

SAMPLE_LIMIT = 4  # factors change no float result, so a few samples are enough to find them
_SMALLEST_FACTOR = 2.0**-10  # a dead channel is not blown up further than this


@dataclass(frozen=True)
class _Reach:
    """Per channel the lowest and highest value seen."""

    low: Floats
    high: Floats

    def widen(self, other: _Reach) -> _Reach:
        return _Reach(np.minimum(self.low, other.low), np.maximum(self.high, other.high))


def equalize_channels(component: Component, samples: Samples) -> Component:
    """A copy of a prepared component with equalized channels; equal in float up to rounding.

    Looks at the first SAMPLE_LIMIT samples. The component's digest changes with what was folded.
    """
    model = component.model.clone()
    lifted = lift_small_weights(model)
    edges = list_edges(model.graph)
    if not edges and not lifted:
        return component
    reaches = _observe_channels(model, [edge.value for edge in edges], samples)
    names = Names(model)
    total = hashlib.sha256(f"{component.digest} lifted {lifted}".encode())
    chosen = [_choose_factors(edge, reaches[str(edge.value.name)]) for edge in edges]
    for edge, factors in zip(edges, chosen, strict=True):
        if _apply(edge, factors, names):
            total.update(f"{edge.value.name}:".encode() + factors.tobytes())
    remove_unused(model)  # the weights that were replaced
    return replace(component, model=model, digest=total.hexdigest())


def _observe_channels(model: ir.Model, values: Iterable[ir.Value], samples: Samples) -> Mapping[str, _Reach]:
    """Lowest and highest value of each channel (axis 1), measured inside the graph."""
    watched = [str(value.name) for value in values]
    clone = model.clone()
    session = open_session(_measure_channels(clone, watched))
    wanted = [f"{name}/{end}" for end in ("channel_low", "channel_high") for name in watched]
    reaches: dict[str, _Reach] = {}
    for index, sample in enumerate(samples):
        if index == SAMPLE_LIMIT:
            break
        results = session.run(wanted, sample.feeds)
        for name, low, high in zip(watched, results, results[len(watched) :], strict=False):
            seen = _Reach(low.astype(np.float64), high.astype(np.float64))
            reaches[name] = reaches[name].widen(seen) if name in reaches else seen
    return reaches


def _measure_channels(model: ir.Model, watched: list[str]) -> ir.Model:
    """Outputs of `model` become the channel extremes of the watched tensors."""
    graph = model.graph
    by_name = {str(output.name): output for node in graph for output in node.outputs}
    opset = graph.opset_imports.get("", 17)
    names = Names(model)
    graph.outputs.clear()
    for name in watched:
        value = by_name[name]
        producer = value.producer()
        axes = [axis for axis in range(len(value.shape or ())) if axis != 1]
        for op_type, end in (("ReduceMin", "channel_low"), ("ReduceMax", "channel_high")):
            inputs: list[ir.Value | None] = [value]
            attributes: dict[str, int | list[int]] = {"keepdims": 0}
            if opset >= 18:
                inputs.append(names.add_initializer(graph, f"{name}/axes", np.asarray(axes, np.int64)))
            else:
                attributes["axes"] = axes
            reduce = ir.node(op_type, inputs, attributes, name=f"{name}/{end}")
            reduce.outputs[0].name = f"{name}/{end}"
            reduce.outputs[0].dtype = ir.DataType.FLOAT
            if producer is not None:
                graph.insert_after(producer, reduce)
            graph.outputs.append(reduce.outputs[0])
    return model


def _choose_factors(edge: Edge, reach: _Reach) -> Floats:
    """Each channel's share of the largest reach, 0..1; a silent channel keeps a small one."""
    low, high = reach.low, reach.high
    if edge.chain is not None:
        limits = find_useful_interval(edge.chain, float(low.min()), float(high.max()))
        low, high = np.clip(low, *limits), np.clip(high, *limits)
    magnitudes = np.maximum(np.abs(low), np.abs(high))
    largest = magnitudes.max(initial=0.0)
    if not np.isfinite(largest) or largest <= 0:
        return np.ones_like(magnitudes)
    shares: Floats = np.maximum(magnitudes / largest, _SMALLEST_FACTOR)
    return shares


def _apply(edge: Edge, factors: Floats, names: Names) -> bool:
    """Divide the tensor's channels by `factors` and let its readers multiply by them; False: not done."""
    if edge.source is not None:
        if not fold_scale(edge.source, 1.0 / factors, np.zeros_like(factors), names):
            return False
    else:
        _scale_chain_output(edge.value, 1.0 / factors, names)
    for reader in edge.depthwise:
        _scale_depthwise(reader, factors, names)
    name = edge.value.name
    edge.value.name = names.free(f"{name}/equalized")
    if edge.chain is not None:
        _scale_chain_input(edge, factors, names).name = name  # what the name meant before
    return True


def _scale_depthwise(node: ir.Node, factors: Floats, names: Names) -> None:
    """Filter j works on input channel j // multiplier."""
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise TypeError(f"the weights of Conv '{node.name}' are not constant")
    repeated = np.repeat(factors, weight.shape[0] // len(factors))
    scaled = weight * _along_channels(repeated, weight.ndim + 1).astype(weight.dtype)
    made = names.add_initializer(graph_of(node), f"{node.outputs[0].name}/weight", scaled)
    node.replace_input_with(1, made)


def _scale_chain_input(edge: Edge, factors: Floats, names: Names) -> ir.Value:
    """value -> Mul by the factors -> the chain; the Mul's result."""
    readers = tuple(edge.value.uses())
    restored = _multiply(edge.value, factors, names)
    for reader, index in readers:
        reader.replace_input_with(index, restored)
    return restored


def _scale_chain_output(value: ir.Value, factors: Floats, names: Names) -> None:
    """Multiply what a chain makes: in its last constants where it ends in such, else by one more Mul."""
    if not _scale_constants(value, factors, names):
        readers = tuple(value.uses())
        scaled = _multiply(value, factors, names)
        for reader, index in readers:
            reader.replace_input_with(index, scaled)


def _scale_constants(value: ir.Value, factors: Floats, names: Names) -> bool:
    """k * (a * c) = a * (k c); k * (a / c) = a / (c / k); k * (a + c) = k a + k c."""
    node = value.producer()
    if node is None or node.domain or node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return False
    side = next((i for i in (0, 1) if constant_array(node.inputs[i]) is not None), None)
    if side is None or (node.op_type == "Div" and side == 0):
        return False
    data, constant = node.inputs[1 - side], constant_array(node.inputs[side])
    if data is None or constant is None:
        return False
    if node.op_type in ("Add", "Sub"):
        alone = len(data.uses()) == 1 and not data.is_graph_output()
        if not alone or not _scale_constants(data, factors, names):
            return False
    shaped = _along_channels(factors, len(value.shape or ()))
    scaled = constant / shaped if node.op_type == "Div" else constant * shaped
    made = names.add_initializer(graph_of(node), f"{value.name}/constant", scaled.astype(constant.dtype))
    node.replace_input_with(side, made)
    return True


def _multiply(value: ir.Value, factors: Floats, names: Names) -> ir.Value:
    """The output of a new Mul behind `value`, by one factor a channel."""
    producer = value.producer()
    if producer is None:
        raise TypeError(f"tensor '{value.name}' has no producer")
    graph = graph_of(producer)
    shaped = _along_channels(factors, len(value.shape or ())).astype(np.float32)
    constant = names.add_initializer(graph, f"{value.name}/factors", shaped)
    name = names.free(f"{value.name}/scaled")
    node = ir.node("Mul", [value, constant], name=name)
    scaled = node.outputs[0]
    scaled.name, scaled.type = name, ir.TensorType(ir.DataType.FLOAT)
    scaled.shape = None if value.shape is None else ir.Shape(value.shape)
    graph.insert_after(producer, node)
    return scaled


def _along_channels(factors: Floats, rank: int) -> Floats:
    """[C] as [C, 1, ..., 1], so that it broadcasts along axis 1 of a tensor of that rank."""
    return factors.reshape(-1, *[1] * (rank - 2))
