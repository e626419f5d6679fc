"""Which values of a Q/DQ graph are integers, and what real numbers they stand for."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of
from edgekit.targets.litert.graph import Quant

if TYPE_CHECKING:
    from collections.abc import Mapping

    Quants = dict[ir.Value, Quant]

# What activations are rounded to.
INTEGERS = frozenset((ir.DataType.INT8, ir.DataType.INT16))


def read_quants(model: ir.Model) -> Quants:
    """Per-tensor results of Q, and constants read by DQ (there also per axis)."""
    quants: Quants = {}
    for node in model.graph:
        scale, zero = constant_array(input_of(node, 1)), constant_array(input_of(node, 2))
        if node.op_type == "QuantizeLinear" and scale is not None and scale.size == 1 and zero is not None:
            if zero.dtype == np.int8 or (zero.dtype == np.int16 and not np.any(zero)):
                quants[node.outputs[0]] = Quant((float(scale.reshape(-1)[0]),), int(zero.reshape(-1)[0]))
        elif node.op_type == "DequantizeLinear" and scale is not None:
            _read_constant(node, scale, zero, quants)
    _carry_through_transposes(model, quants)
    return quants


def _read_constant(node: ir.Node, scale: np.ndarray, zero: np.ndarray | None, quants: Quants) -> None:
    source = node.inputs[0]
    values = constant_array(source)
    if source is None or values is None or values.dtype not in (np.int8, np.int32):
        return
    if zero is not None and np.any(zero):
        return
    rank = values.ndim
    axis = node.attributes["axis"].as_int() % rank if "axis" in node.attributes and rank else 0
    found = Quant(tuple(float(item) for item in scale.reshape(-1)), 0, axis)
    if quants.setdefault(source, found) != found:
        quants[source] = Quant(())  # two DQ read it with scales of their own: it stays float for all


def _carry_through_transposes(model: ir.Model, quants: Quants) -> None:
    """Nodes that move int8 values keep their scale."""
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        moves = node.op_type in ("Transpose", "Reshape", "Identity")
        if moves and source in quants and source.dtype in INTEGERS:
            quants[node.outputs[0]] = quants[source]
            node.outputs[0].type = source.type


def integers_of(value: ir.Value | None, quants: Mapping[ir.Value, Quant]) -> ir.Value | None:
    """What lies before the value's DequantizeLinear, where its scales are known; the value if it is such."""
    if value is not None and value in quants and value.dtype in INTEGERS:
        return value
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    source = producer.inputs[0]
    known = source is not None and source in quants and quants[source].scales
    return source if known else None


def sole_quantizer(value: ir.Value, quants: Mapping[ir.Value, Quant]) -> ir.Node | None:
    """The QuantizeLinear that alone reads the value, where its scale is known."""
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node, index = uses[0]
    known = node.op_type == "QuantizeLinear" and index == 0 and node.outputs[0] in quants
    return node if known else None
