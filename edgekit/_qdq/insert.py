"""Writes the Q/DQ pairs of one calibration record into a clone of a prepared component."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.islands import find_islands
from edgekit._qdq.pairs import add_pair
from edgekit._qdq.parameters import ParameterWriter, QdqForm
from edgekit._qdq.saturation import narrow_range
from edgekit._values import QuantParams, Scales
from edgekit.calibration.record import TensorRange
from edgekit.calibration.scales import derive_scales
from edgekit.errors import ModelError
from edgekit.passes._rewire import Names
from edgekit.passes.reach_opset import reach_opset
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir

    from edgekit._qdq.islands import Islands
    from edgekit._qdq.steering import Decision, Steering
    from edgekit._values import Component, Scheme
    from edgekit.calibration.record import CalibrationRecord

_OPSET_16_BIT, _IR_16_BIT = 21, 10


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
    component = reach_scheme(component, form.scheme)
    model = component.model.clone()
    islands = find_islands(model.graph, steering, conv_output=form.conv_output, gemm_output=form.gemm_output)
    clipped = None if steering is None else steering.clipped
    params = _settle_params(islands, record, form.scheme, clipped)
    named = {str(value.name): param for value, param in params.items()}
    names = Names(model)
    parameters = ParameterWriter(form, params, names)
    for node in tuple(model.graph):
        if node in islands.nodes:
            parameters.quantize(node)
    pairs = _PairWriter(model.graph, islands, params, names)
    for value in islands.tensors:
        pairs.wrap(value)
    remove_unused(model)  # the float weights that integers replaced
    scales = Scales(form.scheme.name, record.digest, dict(sorted(named.items())))
    narrowed = frozenset(str(value.name) for value in islands.chain_inputs)
    return QdqResult(replace(component, model=model), scales, islands.decisions, narrowed)


def reach_scheme(component: Component, scheme: Scheme) -> Component:
    """The component in an opset that has the scheme's Q and DQ: 16-bit ones came with opset 21."""
    if scheme.activation != "uint16" or component.model.opset_imports[""] >= _OPSET_16_BIT:
        return component
    model = component.model.clone()
    reach_opset(model, _OPSET_16_BIT)
    model.ir_version = max(model.ir_version, _IR_16_BIT)
    return replace(component, model=model)


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
    params: Mapping[ir.Value, QuantParams]
    names: Names

    def wrap(self, value: ir.Value) -> None:
        """value -> Q -> DQ -> its readers; float readers of a float producer keep the plain value."""
        param, producer = self.params[value], value.producer()
        int8_made = producer in self.islands.nodes
        readers = [(node, index) for node, index in value.uses() if int8_made or node in self.islands.nodes]
        zero_point = np.asarray(param.zero_point, param.dtype)
        restored = add_pair(self.graph, value, param.scale, zero_point, self.names)
        for node, index in readers:
            node.replace_input_with(index, restored)
        if value.is_graph_output() and int8_made:
            self._hand_over_output(value, restored)

    def _hand_over_output(self, value: ir.Value, restored: ir.Value) -> None:
        """The graph output becomes the restored tensor, under the output's public name."""
        name = value.name
        value.name = self.names.free(f"{name}/float")
        restored.name = name
        self.graph.outputs[:] = [restored if output is value else output for output in self.graph.outputs]
