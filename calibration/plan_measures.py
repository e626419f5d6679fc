"""What is to be measured of each tensor of a graph, and what follows from other measures."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgekit.calibration.follow_extremes import Follows, follow_extremes
from edgekit.calibration.hand_on_nans import find_handed_on
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence


@dataclass(frozen=True)
class WatchList:
    """The tensors to measure (None: every float32 activation, graph inputs included).

    by_channel: those whose extremes are wanted for each entry of an axis too, and which axis. show: is handed
    the inputs and the graph's own outputs of each sample, by name.
    """

    tensors: tuple[str, ...] | None = None
    by_channel: Mapping[str, int] = field(default_factory=dict)
    show: Callable[[Mapping[str, Any], Mapping[str, Any]], None] | None = None


@dataclass(frozen=True)
class Measure:
    """What is to be measured of one tensor, the `index`-th of a graph.

    follows: how its extremes come from those of others. channel_axis: the axis for each entry of which they
    are wanted too. summed: its sum tells whether it holds a NaN. sampled: a part of its values is wanted.
    """

    value: ir.Value
    index: int
    follows: Follows | None
    channel_axis: int | None
    summed: bool
    sampled: bool


def plan_measures(graph: ir.Graph, watch: WatchList, parts: tuple[str, ...]) -> list[Measure]:
    """One for each tensor on `watch`, in the graph's order; parts: as for `instrument_graph`.

    ModelError for a tensor on `watch` that is no float32 activation.
    """
    values = _choose_values(graph, watch.tensors)
    axes = [watch.by_channel.get(str(value.name)) for value in values]
    known, follows = set[ir.Value](), list[Follows | None]()
    for value, axis in zip(values, axes, strict=True):
        node = value.producer()
        follows.append(None if node is None or axis is not None else follow_extremes(node, known))
        known.add(value)
    # What follows has a NaN only where that which it follows has one.
    seen = {value for value, found in zip(values, follows, strict=True) if found is None}
    summed = known if "nans" in parts else seen - find_handed_on(graph, seen)
    return [
        Measure(value, index, follows[index], axes[index], value in summed, "sample" in parts)
        for index, value in enumerate(values)
    ]


def _choose_values(graph: ir.Graph, tensors: Sequence[str] | None) -> list[ir.Value]:
    inputs = [value for value in graph.inputs if value.name not in graph.initializers]
    made = [output for node in graph for output in node.outputs if output.name]
    floats = [value for value in inputs + made if value.dtype == ir.DataType.FLOAT]
    if tensors is None:
        return floats
    absent = set(tensors) - {value.name for value in floats}
    if absent:
        raise ModelError(
            f"tensor '{min(absent)}' is no float32 activation of this model, so it has no range to observe",
            fix="take the name from `edgekit inspect`, of a graph input or a node's float output",
        )
    return [value for value in floats if value.name in set(tensors)]
