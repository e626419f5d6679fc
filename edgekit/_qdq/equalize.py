"""Gives every channel of an activation the same reach, by moving per-channel factors into constants.

A per-tensor scale serves the loudest channel: beside a channel that reaches 22, one that reaches 0.3
keeps three levels of int8. Where constants stand on both sides of an activation (convolution weights
in front, a pointwise chain or a depthwise convolution behind), channel c can be divided by a factor in
front and multiplied by it behind. In float the model computes the same; in int8 each channel gets its
127 levels, in every runtime, with zero-point 0 and one scale a tensor.
"""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq.equalize_edges import Edge, list_edges
from edgekit._qdq.lift_weights import lift_small_weights
from edgekit._qdq.saturation import find_useful_interval
from edgekit.calibration.record import TensorRange
from edgekit.passes._rewire import Names, constant_array, graph_of
from edgekit.passes._scale_weights import fold_scale
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit._values import Component
    from edgekit.calibration.record import CalibrationRecord, ChannelRange

    Floats = NDArray[np.float64]

_SMALLEST_FACTOR = 2.0**-10  # a faint channel is not blown up further than this


def lift_component(component: Component) -> Component:
    """A copy whose small weights are lifted (lift_small_weights), or the component itself."""
    model = component.model.clone()
    lifted = lift_small_weights(model)
    if not lifted:
        return component
    digest = hashlib.sha256(f"{component.digest} lifted {lifted}".encode()).hexdigest()
    return replace(component, model=model, digest=digest)


def list_equalized(graph: ir.Graph) -> tuple[str, ...]:
    """Names of the tensors whose channels `equalize_channels` needs to know."""
    names = [str(value.name) for edge in list_edges(graph) for value in edge.scaled]
    return tuple(dict.fromkeys(names))


def equalize_channels(component: Component, record: CalibrationRecord) -> tuple[Component, CalibrationRecord]:
    """A copy of a calibrated component with equalized channels, and the record that fits it.

    In float the copy computes the same up to rounding. `record` must hold the channels of
    `list_equalized`; a tensor that was never seen is left alone. Equalized tensors are called
    `<name>/equalized` and keep their whole range, whatever the observer.
    """
    model = component.model.clone()
    edges = [
        edge
        for edge in list_edges(model.graph)
        if all(value.name in record.channels for value in edge.scaled)
    ]
    chosen = [_choose_factors(edge, record.channels[str(edge.value.name)]) for edge in edges]
    names, ranges = Names(model), dict(record.ranges)
    total = hashlib.sha256(component.digest.encode())
    for edge, factors in zip(edges, chosen, strict=True):
        before = [str(value.name) for value in edge.scaled]
        made = _apply(edge, factors, names)
        for name, value in zip(before, made, strict=False):
            scaled = _scale_range(record.channels[name], factors)
            ranges[str(value.name)] = scaled
            total.update(f"{value.name}:".encode() + factors.tobytes())
    remove_unused(model)  # the weights that were replaced
    digest = total.hexdigest() if edges else component.digest
    fitting = replace(record, model_digest=digest, ranges=dict(sorted(ranges.items())), channels={})
    return replace(component, model=model, digest=digest), fitting


def _scale_range(channels: ChannelRange, factors: Floats) -> TensorRange:
    """The extremes after the division, unclipped: each channel's own largest value set its factor."""
    low = float((np.asarray(channels.low) / factors).min())
    high = float((np.asarray(channels.high) / factors).max())
    return TensorRange(low, high, max(abs(low), abs(high)), min(low, 0.0), max(high, 0.0))


def _choose_factors(edge: Edge, seen: ChannelRange) -> Floats:
    """Each channel's share of the largest reach, 0..1; a silent channel keeps 1.

    Nothing is known of how far a silent channel reaches once it wakes up.
    """
    low, high = np.asarray(seen.low), np.asarray(seen.high)
    if edge.chain is not None:
        limits = find_useful_interval(edge.chain, float(low.min()), float(high.max()))
        low, high = np.clip(low, *limits), np.clip(high, *limits)
    magnitudes = np.maximum(np.abs(low), np.abs(high))
    largest = magnitudes.max(initial=0.0)
    if not np.isfinite(largest) or largest <= 0:
        return np.ones_like(magnitudes)
    shares: Floats = np.maximum(magnitudes / largest, _SMALLEST_FACTOR)
    return np.where(magnitudes > 0, shares, 1.0)


def _apply(edge: Edge, factors: Floats, names: Names) -> tuple[ir.Value, ...]:
    """Divide the tensor's channels by `factors` and let its readers multiply by them.

    Returns the values that hold the divided tensors, in the order of `edge.scaled`; none where the
    source's weights cannot take the division.
    """
    before = [str(value.name) for value in edge.scaled]
    if edge.source is None:
        scaled: tuple[ir.Value, ...] = (_scale_chain_output(edge.value, 1.0 / factors, names),)
    elif fold_scale(edge.source, 1.0 / factors, np.zeros_like(factors), names):
        scaled = edge.scaled
    else:
        return ()
    for reader in edge.depthwise:
        _scale_depthwise(reader, factors, names)
    for value, name in zip(scaled, before, strict=True):
        value.name = names.free(f"{name}/equalized")
    if edge.chain is not None:
        _scale_chain_input(edge, factors, names).name = before[-1]  # what the name meant before
    return scaled


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


def _scale_chain_output(value: ir.Value, factors: Floats, names: Names) -> ir.Value:
    """Multiply what a chain makes: in its last constants where it ends in such, else by one more Mul."""
    if _scale_constants(value, factors, names):
        return value
    readers = tuple(value.uses())
    scaled = _multiply(value, factors, names)
    for reader, index in readers:
        reader.replace_input_with(index, scaled)
    return scaled


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
