"""Writes the Q/DQ pairs of one calibration record into a clone of a prepared component."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.front_end import find_front_end
from edgekit._qdq.islands import find_islands
from edgekit._qdq.pairs import add_pair
from edgekit._qdq.parameters import ParameterWriter, QdqForm
from edgekit._qdq.round_layers import tell_roundings
from edgekit._qdq.saturation import narrow_range
from edgekit._qdq.split_groups import close_groups, split_groups
from edgekit._qdq.steering import Steering
from edgekit._qdq.widths import Widths, find_wide, tell_widths
from edgekit._schemes import QuantParams, Scales
from edgekit.calibration.record import TensorRange
from edgekit.calibration.scales import derive_scales
from edgekit.errors import ModelError
from edgekit.passes._rewire import Names
from edgekit.passes.reach_opset import reach_opset
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Sequence

    import onnx_ir as ir

    from edgekit._qdq.islands import Islands
    from edgekit._qdq.steering import Decision
    from edgekit._schemes import Scheme
    from edgekit._values import Component
    from edgekit.calibration.record import CalibrationRecord

_OPSET_16_AND_4_BIT, _IR_16_AND_4_BIT = 21, 10


@dataclass(frozen=True)
class QdqResult:
    """The Q/DQ component, the scales it holds by source tensor name, and why each node is int8 or not.

    narrowed: tensors in front of an activation, whose range may be cut to where that is not flat.
    """

    component: Component
    scales: Scales
    decisions: tuple[Decision, ...]
    narrowed: frozenset[str] = frozenset()


def insert_qdq(
    component: Component,
    record: CalibrationRecord,
    *,
    form: QdqForm,
    steering: Steering | None = None,
) -> QdqResult:
    """Quantize a clone of `component`; tensors that must share a scale get their group's widest range.

    Raises ModelError where the record lacks a tensor that the placement needs, or a weight has no scale.
    """
    component = reach_scheme(component, form.scheme, steering)
    model = component.model.clone()
    steering = steering or Steering()
    if form.front_end == "float":
        steering = replace(steering, front_end=find_front_end(model))
    joining, ranged = split_groups(model, record)
    islands = find_islands(model.graph, steering, conv_output=form.conv_output, gemm_output=form.gemm_output)
    widths = _settle_widths(model.graph, islands, ranged, form=form, steering=steering)
    named = {
        str(value.name): widths.own(value, islands.nodes)
        for value in islands.tensors
        if value.producer() not in joining
    }
    names = Names(model)
    rounded = steering.rounded
    writers = [ParameterWriter(form, params, names, rounded) for params in (widths.narrow, widths.wide)]
    for node in tuple(model.graph):
        if node in islands.nodes:
            writers[node in widths.nodes].quantize(node)
    pairs = _PairWriter(model.graph, islands, widths, names)
    for value in islands.tensors:
        pairs.wrap(value)
    close_groups(model, joining)
    remove_unused(model)  # the float weights that integers replaced
    scales = Scales(form.scheme.name, record.digest, dict(sorted(named.items())))
    narrowed = frozenset(str(value.name) for value in islands.chain_inputs)
    added = {node.name for node in joining}
    told = [one for one in islands.decisions if one.node not in added]
    decisions = tell_widths(told, islands.nodes, wide=widths.nodes, scheme=form.scheme)
    return QdqResult(replace(component, model=model), scales, tell_roundings(decisions, rounded), narrowed)


def reach_scheme(component: Component, scheme: Scheme, steering: Steering | None = None) -> Component:
    """The component in an opset that has the Q and DQ it needs: 16- and 4-bit ones came with opset 21."""
    wide = scheme.is_wide or (steering is not None and steering.wide is not None)
    newer = wide or scheme.weight == "int4"
    if not newer or component.model.opset_imports[""] >= _OPSET_16_AND_4_BIT:
        return component
    model = component.model.clone()
    reach_opset(model, _OPSET_16_AND_4_BIT)
    model.ir_version = max(model.ir_version, _IR_16_AND_4_BIT)
    return replace(component, model=model)


def _settle_widths(
    graph: ir.Graph,
    islands: Islands,
    record: CalibrationRecord,
    *,
    form: QdqForm,
    steering: Steering,
) -> Widths:
    """The parameters of every tensor in both widths, and the nodes that compute in 16 bits."""
    narrow = _settle_params(islands, record, form.scheme, steering.clipped)
    if steering.wide is None:
        return Widths(frozenset(), narrow, narrow)
    # 16 bits have levels enough for the whole range.
    wide = _settle_params(islands, record, steering.wide.scheme, frozenset())
    return Widths(find_wide(graph, islands, steering.wide.nodes), narrow, wide)


def _settle_params(
    islands: Islands, record: CalibrationRecord, scheme: Scheme, clipped: frozenset[str] | None
) -> dict[ir.Value, QuantParams]:
    """Scale and zero-point of every quantized tensor, from the widest range of its group."""
    widest: dict[ir.Value, TensorRange] = {}
    for value in islands.tensors:
        seen = record.ranges.get(str(value.name))
        if seen is None:
            raise ModelError(
                f"tensor '{value.name}' has no range in the calibration record {record.digest[:12]}",
                fix="calibrate this model again; the record belongs to another version of it",
            )
        if clipped is not None and value.name not in clipped:
            seen = seen.whole()
        if value in islands.chain_inputs:
            seen = narrow_range(islands.chain_inputs[value], seen)
        group = islands.groups[value]
        widest[group] = _widen(widest[group], seen) if group in widest else seen
    ranges = {str(value.name): widest[islands.groups[value]] for value in islands.tensors}
    params = derive_scales(replace(record, ranges=ranges), scheme).tensors
    return {value: params[str(value.name)] for value in islands.tensors}


def _widen(one: TensorRange, other: TensorRange) -> TensorRange:
    return TensorRange(
        low=min(one.low, other.low),
        high=max(one.high, other.high),
        threshold=max(one.threshold, other.threshold),
        clip_low=min(one.clip_low, other.clip_low),
        clip_high=max(one.clip_high, other.clip_high),
    )


@dataclass(frozen=True)
class _PairWriter:
    """Adds the Q/DQ pairs of activations to one graph."""

    graph: ir.Graph
    islands: Islands
    widths: Widths
    names: Names

    def wrap(self, value: ir.Value) -> None:
        """value -> Q -> DQ -> its readers; float readers of a float producer keep the plain value.

        Readers of the other width get a pair of their own: behind the producer's, or on the plain value.
        """
        producer, inside = value.producer(), self.islands.nodes
        readers = {
            width: [use for use in value.uses() if use[0] in inside and self.widths.is_wide(use[0]) is width]
            for width in (False, True)
        }
        if producer not in inside:
            for width in (False, True):
                if readers[width]:
                    self._restore(value, value, readers[width], width=width)
            return
        own = self.widths.is_wide(producer)
        others = readers[not own]
        near = [use for use in value.uses() if use not in others]
        restored = self._restore(value, value, near, width=own)
        if others:
            self._restore(value, restored, others, width=not own)
        if value.is_graph_output():
            self._hand_over_output(value, restored)

    def _restore(
        self, value: ir.Value, source: ir.Value, readers: Sequence[tuple[ir.Node, int]], *, width: bool
    ) -> ir.Value:
        """source -> Q -> DQ -> readers, with the parameters of `value` in that width."""
        param = self.widths.params(width)[value]
        zero_point = np.asarray(param.zero_point, param.dtype)
        restored = add_pair(self.graph, source, param.scale, zero_point, self.names)
        for node, index in readers:
            node.replace_input_with(index, restored)
        return restored

    def _hand_over_output(self, value: ir.Value, restored: ir.Value) -> None:
        """The graph output becomes the restored tensor, under the output's public name."""
        name = value.name
        value.name = self.names.free(f"{name}/float")
        restored.name = name
        self.graph.outputs[:] = [restored if output is value else output for output in self.graph.outputs]
