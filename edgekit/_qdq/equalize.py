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

from edgekit._qdq.channel_factors import multiply, scale_constants, takes_factors
from edgekit._qdq.equalize_edges import Edge, list_edges
from edgekit._qdq.lift_weights import lift_small_weights
from edgekit._qdq.saturation import find_useful_interval
from edgekit._qdq.smooth_products import list_smoothings, smooth
from edgekit.calibration.record import TensorRange
from edgekit.passes._rewire import Names, constant_array, graph_of
from edgekit.passes._scale_weights import fold_scale
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Iterator

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._values import Component
    from edgekit.calibration.record import CalibrationRecord, ChannelRange

    Floats = NDArray[np.float64]
    Divided = tuple[ir.Value, Floats, ChannelRange]  # a tensor, its channels' factors, its channels before

_SMALLEST_FACTOR = 2.0**-10  # a faint channel is not blown up further than this


def lift_component(component: Component) -> Component:
    """A copy whose small weights are lifted (lift_small_weights), or the component itself."""
    model = component.model.clone()
    lifted = lift_small_weights(model)
    if not lifted:
        return component
    digest = hashlib.sha256(f"{component.digest} lifted {lifted}".encode()).hexdigest()
    return replace(component, model=model, digest=digest)


def list_equalized(graph: ir.Graph) -> dict[str, int]:
    """The tensors whose channels `equalize_channels` needs to know, and the axis of their channels."""
    smoothed = {str(found.value.name): found.axis for found in list_smoothings(graph)}
    return smoothed | {str(value.name): 1 for edge in list_edges(graph) for value in edge.scaled}


def equalize_channels(component: Component, record: CalibrationRecord) -> tuple[Component, CalibrationRecord]:
    """A copy of a calibrated component with equalized channels, and the record that fits it.

    In float the copy computes the same up to rounding. `record` must hold the channels of
    `list_equalized`; a tensor that was never seen is left alone. Equalized tensors are called
    `<name>/equalized` and keep their whole range, whatever the observer.
    """
    model = component.model.clone()
    names, ranges = Names(model), dict(record.ranges)
    total = hashlib.sha256(component.digest.encode())
    changed = [*_equalize_edges(model.graph, record, names), *_smooth_products(model.graph, record, names)]
    for value, factors, seen in changed:
        ranges[str(value.name)] = _scale_range(seen, factors)
        total.update(f"{value.name}:".encode() + factors.tobytes())
    remove_unused(model)  # the weights that were replaced
    digest = total.hexdigest() if changed else component.digest
    fitting = replace(record, model_digest=digest, ranges=dict(sorted(ranges.items())), channels={})
    return replace(component, model=model, digest=digest), fitting


def _equalize_edges(graph: ir.Graph, record: CalibrationRecord, names: Names) -> Iterator[Divided]:
    """Equalize each edge whose channels were seen: the tensors that hold what was divided."""
    edges = [
        edge for edge in list_edges(graph) if all(value.name in record.channels for value in edge.scaled)
    ]
    chosen = [_choose_factors(edge, record.channels[str(edge.value.name)]) for edge in edges]
    for edge, factors in zip(edges, chosen, strict=True):
        before = [str(value.name) for value in edge.scaled]
        made = _apply(edge, factors, names)
        for name, value in zip(before, made, strict=False):
            yield value, factors, record.channels[name]


def _smooth_products(graph: ir.Graph, record: CalibrationRecord, names: Names) -> Iterator[Divided]:
    """Smooth each activation whose channels were seen along its last axis."""
    edges = {value for edge in list_edges(graph) for value in edge.scaled}
    for found in list(list_smoothings(graph)):
        seen = record.channels.get(str(found.value.name))
        factors = None if seen is None or found.value in edges else smooth(found, seen, names)
        if seen is not None and factors is not None:
            yield found.value, factors, seen


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
    restored = multiply(edge.value, _along_channels(factors, len(edge.value.shape or ())), names)
    for reader, index in readers:
        reader.replace_input_with(index, restored)
    return restored


def _scale_chain_output(value: ir.Value, factors: Floats, names: Names) -> ir.Value:
    """Multiply what a chain makes: in its last constants where it ends in such, else by one more Mul."""
    shaped = _along_channels(factors, len(value.shape or ()))
    if takes_factors(value):
        scale_constants(value, shaped, names)
        return value
    readers = tuple(value.uses())
    scaled = multiply(value, shaped, names)
    for reader, index in readers:
        reader.replace_input_with(index, scaled)
    return scaled


def _along_channels(factors: Floats, rank: int) -> Floats:
    """[C] as [C, 1, ..., 1], so that it broadcasts along axis 1 of a tensor of that rank."""
    return factors.reshape(-1, *[1] * (rank - 2))
