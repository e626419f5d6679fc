"""Writes the Q/DQ pairs of one calibration record into a clone of a prepared component."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq.islands import Decision, Steering, find_islands
from edgekit._qdq.placement import place
from edgekit._qdq.saturation import narrow_range
from edgekit._qdq.weights import bias_units, channel_axis, quantize_weight, round_bias
from edgekit._values import QuantParams, Scales
from edgekit.calibration.record import TensorRange
from edgekit.calibration.scales import derive_scales, weight_zero_point
from edgekit.errors import ModelError
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit._qdq.islands import Islands
    from edgekit._qdq.weights import QuantizedWeight
    from edgekit._values import BiasForm, Component, Scheme
    from edgekit.calibration.record import CalibrationRecord


@dataclass(frozen=True)
class QdqForm:
    """How one target wants the graph.

    bias: `float` keeps a float bias rounded to what int32 would hold; `int32` writes int32 and its DQ.
    """

    scheme: Scheme
    bias: BiasForm = "float"


@dataclass(frozen=True)
class QdqResult:
    """The Q/DQ component, the scales it holds by source tensor name, and why each node is int8 or not."""

    component: Component
    scales: Scales
    decisions: tuple[Decision, ...]


def insert_qdq(
    component: Component,
    record: CalibrationRecord,
    *,
    form: QdqForm,
    steering: Steering | None = None,
) -> QdqResult:
    """Quantize a clone of `component`; tensors that must share a scale get their group's widest range.

    Raises ModelError where the record lacks a tensor that the placement needs.
    """
    model = component.model.clone()
    islands = find_islands(model.graph, steering)
    params = _settle_params(islands, record, form.scheme)
    writer = _Writer(model.graph, islands, params, form)
    for node in list(model.graph):
        if node in islands.nodes:
            writer.quantize_parameters(node)
    for value in islands.tensors:
        writer.wrap_tensor(value)
    remove_unused(model)  # the float weights that integers replaced
    named = {str(value.name): param for value, param in params.items()}
    scales = Scales(form.scheme.name, record.digest, dict(sorted(named.items())))
    return QdqResult(replace(component, model=model), scales, islands.decisions)


def _settle_params(
    islands: Islands, record: CalibrationRecord, scheme: Scheme
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
class _Writer:
    """Adds Q/DQ nodes, scales and integer parameters to one graph."""

    graph: ir.Graph
    islands: Islands
    params: dict[ir.Value, QuantParams]
    form: QdqForm
    constants: dict[str, ir.Value] = field(default_factory=dict)

    def wrap_tensor(self, value: ir.Value) -> None:
        """value -> Q -> DQ -> its readers; float readers of a float producer keep the plain value."""
        param = self.params[value]
        name = str(value.name)
        scale = self._constant(f"{name}/scale", np.asarray(param.scale, np.float32))
        zero = self._constant(f"{name}/zero_point", np.asarray(param.zero_point, param.dtype))
        readers = [(node, index) for node, index in value.uses() if self._reads_int8(value, node)]
        quantize = ir.node("QuantizeLinear", [value, scale, zero], name=f"{name}/quantize")
        restore = ir.node("DequantizeLinear", [quantize.outputs[0], scale, zero], name=f"{name}/dequantize")
        integers, restored = quantize.outputs[0], restore.outputs[0]
        integers.name, restored.name = f"{name}/quantized", f"{name}/dequantized"
        integers.shape = restored.shape = value.shape
        integers.dtype, restored.dtype = _as_ir_dtype(param.dtype), ir.DataType.FLOAT
        for node, index in readers:
            node.replace_input_with(index, restored)
        producer = value.producer()
        if producer is None:
            self.graph.insert_before(self.graph[0], [quantize, restore])
        else:
            self.graph.insert_after(producer, [quantize, restore])
        if value.is_graph_output() and producer in self.islands.nodes:
            _hand_over_output(self.graph, value, restored)

    def _reads_int8(self, value: ir.Value, reader: ir.Node) -> bool:
        """All readers of an int8 node's result, else only the int8 ones: one Q must be its only use."""
        return value.producer() in self.islands.nodes or reader in self.islands.nodes

    def quantize_parameters(self, node: ir.Node) -> None:
        """Constant weight and bias of a compute node; constants that an integer Add or Mul reads."""
        row = place(node)
        if row is None or row.kind != "compute" or row.weight is None:
            return
        weight = node.inputs[row.weight]
        if weight is None or weight.const_value is None:
            return
        bias = node.inputs[row.bias] if row.bias is not None and len(node.inputs) > row.bias else None
        input_scale = self.params[node.inputs[0]].scale if node.inputs[0] in self.params else 1.0
        values = None if bias is None or bias.const_value is None else bias.const_value.numpy()
        quantized = quantize_weight(
            weight.const_value.numpy(),
            channel_axis(node),
            scheme=self.form.scheme,
            bias=values,
            input_scale=input_scale,
        )
        node.replace_input_with(row.weight, self._restore_weight(node, str(weight.name), quantized))
        if values is not None and row.bias is not None:
            unit = bias_units(values, input_scale, quantized.scales)
            node.replace_input_with(row.bias, self._restore_bias(node, values, unit))

    def _restore_weight(self, node: ir.Node, name: str, quantized: QuantizedWeight) -> ir.Value:
        """Integer initializer -> DQ; readers of one weight with the same scales share it."""
        prefix = f"{name}/{hashlib.sha256(quantized.scales.tobytes()).hexdigest()[:8]}"
        if f"{prefix}/restored" in self.constants:
            return self.constants[f"{prefix}/restored"]
        per_tensor = quantized.axis is None
        scales = quantized.scales
        zero = np.full(scales.shape, weight_zero_point(self.form.scheme), quantized.integers.dtype)
        inputs = [
            self._constant(f"{prefix}/integers", quantized.integers),
            self._constant(f"{prefix}/scale", scales),
            self._constant(f"{prefix}/zero_point", zero),
        ]
        attributes = {} if per_tensor else {"axis": quantized.axis}
        restore = ir.node("DequantizeLinear", inputs, attributes, name=f"{prefix}/dequantize")
        restored = restore.outputs[0]
        restored.name = f"{prefix}/restored"
        restored.dtype, restored.shape = ir.DataType.FLOAT, ir.Shape(quantized.integers.shape)
        self.graph.insert_before(self._first_reader(node), restore)
        self.constants[restored.name] = restored
        return restored

    def _restore_bias(
        self, node: ir.Node, values: NDArray[np.float32], unit: NDArray[np.float64]
    ) -> ir.Value:
        """The bias as whole multiples of `unit`: in float, or as int32 with its DQ."""
        rounded = round_bias(values, unit)
        prefix = f"{node.name}/bias"
        if self.form.bias == "float":
            return self._constant(prefix, (rounded * unit).astype(np.float32))
        inputs = [
            self._constant(f"{prefix}/integers", rounded.astype(np.int32)),
            self._constant(f"{prefix}/scale", unit.astype(np.float32)),
            self._constant(f"{prefix}/zero_point", np.zeros(unit.shape, np.int32)),
        ]
        restore = ir.node("DequantizeLinear", inputs, {"axis": 0}, name=f"{prefix}/dequantize")
        restore.outputs[0].name = f"{prefix}/restored"
        restored = restore.outputs[0]
        restored.dtype, restored.shape = ir.DataType.FLOAT, ir.Shape(values.shape)
        self.graph.insert_before(node, restore)
        return restored

    def _first_reader(self, node: ir.Node) -> ir.Node:
        """Parameters are restored at the head of the graph, before anyone can read them."""
        return self.graph[0] if len(self.graph) else node

    def _constant(self, name: str, values: NDArray[np.generic]) -> ir.Value:
        if name in self.constants:
            return self.constants[name]
        tensor = ir.tensor(np.ascontiguousarray(values).reshape(values.shape), name=name)
        value = ir.val(name, const_value=tensor)
        value.dtype, value.shape = tensor.dtype, ir.Shape(values.shape)
        self.graph.register_initializer(value)
        self.constants[name] = value
        return value


def _hand_over_output(graph: ir.Graph, value: ir.Value, restored: ir.Value) -> None:
    """The graph output becomes the restored tensor, under the output's public name."""
    name = value.name
    value.name = f"{name}/float"
    restored.name = name
    graph.outputs[:] = [restored if output is value else output for output in graph.outputs]


def _as_ir_dtype(dtype: str) -> ir.DataType:
    return ir.DataType.UINT8 if dtype == "uint8" else ir.DataType.INT8
