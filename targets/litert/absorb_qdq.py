"""Q/DQ pairs are taken into the ops between them: DQ -> op -> Q becomes one op on int8 tensors.

What cannot be one keeps its DequantizeLinear and QuantizeLinear, and computes in float between them.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of
from edgekit.passes.remove_unused import remove_unused
from edgekit.targets.litert.graph import Quant

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    Quants = dict[ir.Value, Quant]


@cache
def int8_table() -> dict[str, Any]:
    """Which ops have an integer kernel, and what their scales must be."""
    return tomllib.loads((Path(__file__).parent / "int8_ops.toml").read_text(encoding="utf-8"))


def absorb_qdq(model: ir.Model, keep_float: Collection[str] = ()) -> Quants:
    """Rewrite the model in place; the scales of every int8 value that is left.

    Nodes named in `keep_float` compute in float between their DQ and Q.
    """
    quants = _read_quants(model)
    for node in tuple(model.graph):
        if node.op_type == "QuantizeLinear":
            _drop_round_trip(node, quants)
    for node in tuple(model.graph):
        if node.op_type in ("Relu", "Clip") and not node.domain:
            _quantize_before_clamp(node, quants)
    for node in tuple(model.graph):
        if not node.domain and node.op_type in int8_table() and node.name not in keep_float:
            _absorb(node, quants)
    remove_unused(model)
    return {value: quant for value, quant in quants.items() if quant.scales}


def _read_quants(model: ir.Model) -> Quants:
    """Per-tensor results of Q, and constants read by DQ (there also per axis)."""
    quants: Quants = {}
    for node in model.graph:
        scale, zero = constant_array(input_of(node, 1)), constant_array(input_of(node, 2))
        if node.op_type == "QuantizeLinear" and scale is not None and scale.size == 1 and zero is not None:
            if zero.dtype == np.int8:
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
    if source in quants:  # two DQ read it with scales of their own: it stays float for all
        quants[source] = Quant(())
        return
    rank = values.ndim
    axis = node.attributes["axis"].as_int() % rank if "axis" in node.attributes and rank else 0
    quants[source] = Quant(tuple(float(item) for item in scale.reshape(-1)), 0, axis)


def _carry_through_transposes(model: ir.Model, quants: Quants) -> None:
    """Nodes that move int8 values keep their scale."""
    for node in model.graph:
        source = node.inputs[0] if node.inputs else None
        moves = node.op_type in ("Transpose", "Reshape", "Identity")
        if moves and source in quants and source.dtype == ir.DataType.INT8:
            quants[node.outputs[0]] = quants[source]
            node.outputs[0].type = ir.TensorType(ir.DataType.INT8)


def _drop_round_trip(quantize: ir.Node, quants: Quants) -> None:
    """DQ -> Q under one scale gives the integers back (a Transpose that stood between them has moved on)."""
    source, result = _integers(quantize.inputs[0], quants), quantize.outputs[0]
    if source is None or result not in quants or quants[source] != quants[result]:
        return
    result.replace_all_uses_with(source)


def _quantize_before_clamp(clamp: ir.Node, quants: Quants) -> None:
    """op -> clamp -> Q becomes op -> Q -> clamp on int8.

    Rounding is monotone and the clamp's limits are whole codes after it, so both give the same codes.
    """
    value, result = clamp.inputs[0], clamp.outputs[0]
    producer = value.producer() if value is not None else None
    quantize = _sole_quantizer(result, quants)
    if value is None or producer is None or quantize is None or not _is_plain_clamp(clamp):
        return
    if producer.domain or producer.op_type not in int8_table() or len(value.uses()) != 1:
        return
    if value.is_graph_output() or int8_table()[producer.op_type]["scales"] == "equal":
        return
    integers = quantize.outputs[0]
    quantize.replace_input_with(0, value)
    integers.replace_all_uses_with(result)
    clamp.replace_input_with(0, integers)
    graph = clamp.graph
    assert isinstance(graph, ir.Graph)
    graph.remove(quantize)
    graph.insert_before(clamp, quantize)
    result.type = ir.TensorType(ir.DataType.INT8)
    quants[result] = quants[integers]


def _is_plain_clamp(node: ir.Node) -> bool:
    """Relu, or a Clip from 0 to 6 or to infinity: what RELU and RELU6 do on int8."""
    if node.op_type == "Relu":
        return True
    low, high = (constant_array(input_of(node, index)) for index in (1, 2))
    if low is None or float(low) != 0.0 or len(node.inputs) < 2:
        return False
    return high is None or float(high) == 6.0


def _sole_quantizer(value: ir.Value, quants: Mapping[ir.Value, Quant]) -> ir.Node | None:
    uses = list(value.uses())
    if len(uses) != 1 or value.is_graph_output():
        return None
    node, index = uses[0]
    known = node.op_type == "QuantizeLinear" and index == 0 and node.outputs[0] in quants
    return node if known else None


def _absorb(node: ir.Node, quants: Quants) -> None:
    row = int8_table()[node.op_type]
    data = range(len(node.inputs)) if row["data"] == "all" else row["data"]
    sources = {index: _integers(input_of(node, index), quants) for index in data if _given(node, index)}
    quantizers = [_sole_quantizer(value, quants) for value in node.outputs if value.name]
    if not sources or None in sources.values() or None in quantizers:
        return
    outs = [quants[item.outputs[0]] for item in quantizers if item is not None]
    integers = {index: value for index, value in sources.items() if value is not None}
    if not _fits(row, node, integers, quants, outs):
        return
    for index, value in integers.items():
        node.replace_input_with(index, value)
    for item in quantizers:
        assert item is not None
        _take_output(item, quants)


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _integers(value: ir.Value | None, quants: Quants) -> ir.Value | None:
    """What lies before the value's DequantizeLinear, where its scales are known."""
    producer = value.producer() if value is not None else None
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    source = producer.inputs[0]
    known = source is not None and source in quants and quants[source].scales
    return source if known else None


def _fits(
    row: Mapping[str, Any],
    node: ir.Node,
    integers: Mapping[int, ir.Value],
    quants: Quants,
    outs: list[Quant],
) -> bool:
    """The rules on scales, and the node's own conditions, of an integer kernel."""
    ins = [quants[value] for index, value in integers.items() if index not in row.get("parameters", ())]
    if row["scales"] == "equal" and any(quant != ins[0] for quant in (*ins, *outs)):
        return False
    return all(_CONDITIONS[name](node) for name in row.get("conditions", ()))


def _take_output(quantize: ir.Node, quants: Quants) -> None:
    """The quantizer's source becomes int8 itself, with its scale."""
    value, integers = quantize.inputs[0], quantize.outputs[0]
    assert value is not None
    value.type = ir.TensorType(ir.DataType.INT8)
    quants[value] = quants[integers]
    integers.replace_all_uses_with(value)
    graph = quantize.graph
    assert isinstance(graph, ir.Graph)
    graph.remove(quantize, safe=True)


def _no_padding(node: ir.Node) -> bool:
    pads = node.attributes.get("pads")
    auto = node.attributes.get("auto_pad")
    return (pads is None or not any(pads.as_ints())) and (
        auto is None or auto.as_string() in ("NOTSET", "VALID")
    )


def _constant_parameters(node: ir.Node) -> bool:
    """Weights are constants (their DequantizeLinear reads an initializer)."""
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    return producer is not None and constant_array(producer.inputs[0]) is not None


def _one_result(node: ir.Node) -> bool:
    return sum(bool(value.name) for value in node.outputs) == 1


def _two_dims(node: ir.Node) -> bool:
    return len(node.inputs[0].shape or ()) == 4 if node.inputs[0] is not None else False


_CONDITIONS = {
    "no padding": _no_padding,
    "constant parameters": _constant_parameters,
    "one result": _one_result,
    "two spatial dims": _two_dims,
}
