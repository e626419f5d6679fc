"""What each layer's own rounding does to the model's outputs, in one float session.

The layer's error with exact inputs is added to its exact result, and the float model runs on from there:
no quantized model is built a layer, and nothing is calibrated again.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._cost import node_costs
from edgekit._layers import collect_layer, cut_layers
from edgekit._qdq import round_activation
from edgekit._qdq.placement import place
from edgekit._search.shift_session import ShiftSession
from edgekit._verify import float_session, reference_session, with_taps

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgekit._qdq import QdqResult

    Arrays = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class LayerCost:
    """One layer, what its rounding does, and what must be float for it to be gone.

    nodes: those behind the quantized tensor; where the rounding of the tensor itself is most of the error,
    those that read it too. macs: of all these nodes. error: distance of the model's outputs
    (`measure_distance`: nats, or energy over the output's own). rounding: the share of it, 0..1, that goes
    where the tensor itself has more bits.
    """

    tensor: str
    nodes: frozenset[str]
    macs: int
    error: float
    rounding: float = 1.0


def measure_sensitivity(
    float_model: ir.Model, quantized: QdqResult, feeds: Sequence[Arrays]
) -> tuple[LayerCost, ...]:
    """Every layer in the graph's order; one run of the float model a layer and sample.

    Both models stay unchanged.
    """
    cut = cut_layers(quantized.component.model)
    values = {str(value.name): value for node in float_model.graph for value in node.outputs}
    tensors = [name for name in cut.inputs if name in values]
    exact, alone = float_session(with_taps(float_model, tensors)), reference_session(cut.model)
    session = ShiftSession(float_model, tensors)
    seen = {name: _Seen() for name in tensors}
    for sample in feeds:
        known = exact.run(sample)
        own = alone.run({**sample, **{cut.inputs[name]: known[name] for name in tensors}})
        quiet = session.run(sample)
        for name in tensors:
            shift = own[cut.outputs[name]] - known[name]
            seen[name].distance += session.distance(sample, quiet, name, shift) / len(feeds)
            seen[name].all += float(np.sum(shift.astype(np.float64) ** 2))
            rounded = round_activation(known[name], quantized.scales.tensors[name]) - known[name]
            seen[name].rounding += float(np.sum(rounded.astype(np.float64) ** 2))
    macs = {cost.name: cost.macs or 0 for cost in node_costs(float_model)}
    integer = {decision.node for decision in quantized.decisions if decision.precision != "float"}
    costs = []
    for name in tensors:
        nodes = collect_layer(float_model, name, set(tensors))[0]
        if 2 * seen[name].rounding > seen[name].all:
            nodes |= _list_readers(values[name]) & integer
        cost = sum(macs[node] for node in nodes)
        costs.append(LayerCost(name, frozenset(nodes), cost, seen[name].distance, seen[name].share))
    return tuple(costs)


def rank_layers(layers: Sequence[LayerCost]) -> list[LayerCost]:
    """Most error for the fewest MACs first; layers without any error are left out."""
    total = sum(layer.macs for layer in layers) or 1
    # A layer without MACs costs something too: its neighbours' edges become float.
    least = total / 1000
    return sorted(
        (layer for layer in layers if layer.error > 0),
        key=lambda layer: (-layer.error / max(layer.macs, least), layer.tensor),
    )


@dataclass
class _Seen:
    """Of one layer: what the outputs say, and the energy of its whole error and of its result's rounding."""

    distance: float = 0.0
    all: float = 0.0
    rounding: float = 0.0

    @property
    def share(self) -> float:
        return min(self.rounding / self.all, 1.0) if self.all else 1.0


def _list_readers(value: ir.Value) -> set[str]:
    """Names of the nodes that read a tensor, and of those behind nodes that only move its values."""
    found: set[str] = set()
    waiting = [value]
    while waiting:
        for node, _ in waiting.pop().uses():
            if node.name is None or node.name in found:
                continue
            found.add(node.name)
            row = place(node)
            if row is not None and row.kind in ("carry", "group"):
                waiting.extend(node.outputs)
    return found
