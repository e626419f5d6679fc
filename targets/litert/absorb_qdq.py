"""Q/DQ pairs are taken into the ops between them: DQ -> op -> Q becomes one op on int8 tensors.

What cannot be one keeps its DequantizeLinear and QuantizeLinear, and computes in float between them.
"""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of
from edgekit.passes.remove_unused import remove_unused
from edgekit.targets.litert.fold_affine import fold_affine
from edgekit.targets.litert.fold_bias import fold_bias
from edgekit.targets.litert.graph import Quant
from edgekit.targets.litert.quantized_values import INTEGERS, integers_of, read_quants, sole_quantizer

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from edgekit.targets.litert.quantized_values import Quants


@cache
def int8_table() -> dict[str, Any]:
    """Which ops have an integer kernel, and what their scales must be."""
    return tomllib.loads((Path(__file__).parent / "int8_ops.toml").read_text(encoding="utf-8"))


# How much coarser than the graph's a scale may be that LiteRT puts in between: the two roundings then
# stay within one step of the graph's one (0.5 x 1.01 < 1), and cost little against it.
_ROOM = 1.01
# Of 16 bits two may be lost that way, and the result is still finer than 8 bits by far.
_ROOM_16 = 4.0


def absorb_qdq(model: ir.Model, keep_float: Collection[str] = ()) -> Quants:
    """Rewrite the model in place; the scales of every int8 value that is left.

    Nodes named in `keep_float` compute in float between their DQ and Q.
    """
    quants = read_quants(model)
    for node in tuple(model.graph):
        if node.op_type == "QuantizeLinear":
            _join_pair(node, quants)
    fold_affine(model, quants, keep_float)
    remove_unused(model)
    for node in tuple(model.graph):
        if node.op_type in ("Relu", "Clip") and not node.domain:
            _quantize_before_clamp(node, quants)
    fold_bias(model, quants, keep_float)
    for node in tuple(model.graph):
        if not node.domain and node.name not in keep_float:
            if node.op_type == "Sigmoid":
                _absorb_gate(node, quants, keep_float)
            if node.op_type in int8_table():
                _absorb(node, quants)
    remove_unused(model)
    return {value: quant for value, quant in quants.items() if quant.scales}


def _join_pair(quantize: ir.Node, quants: Quants) -> None:
    """DQ -> Q under one scale gives the integers back; under another one it is one step on integers."""
    source, result = integers_of(quantize.inputs[0], quants), quantize.outputs[0]
    if source is None or result not in quants or constant_array(source) is not None:
        return
    if quants[source] == quants[result] and source.dtype == result.dtype:
        result.replace_all_uses_with(source)
    else:
        quantize.replace_input_with(0, source)


def _quantize_before_clamp(clamp: ir.Node, quants: Quants) -> None:
    """op -> clamp -> Q becomes op -> Q -> clamp on int8.

    Rounding is monotone and the clamp's limits are whole codes after it, so both give the same codes.
    """
    value, result = clamp.inputs[0], clamp.outputs[0]
    producer = value.producer() if value is not None else None
    quantize = sole_quantizer(result, quants)
    if value is None or producer is None or quantize is None or not _is_plain_clamp(clamp):
        return
    if producer.domain or producer.op_type not in int8_table() or len(value.uses()) != 1:
        return
    if value.is_graph_output() or int8_table()[producer.op_type]["scales"] in ("equal", "joined"):
        return
    integers = quantize.outputs[0]
    quantize.replace_input_with(0, value)
    integers.replace_all_uses_with(result)
    clamp.replace_input_with(0, integers)
    graph = clamp.graph
    assert isinstance(graph, ir.Graph)
    graph.remove(quantize)
    graph.insert_before(clamp, quantize)
    result.type = integers.type
    quants[result] = quants[integers]


def _is_plain_clamp(node: ir.Node) -> bool:
    """Relu, or a Clip from 0 to 6 or to infinity: what RELU and RELU6 do on int8."""
    if node.op_type == "Relu":
        return True
    low, high = (constant_array(input_of(node, index)) for index in (1, 2))
    if low is None or float(low) != 0.0 or len(node.inputs) < 2:
        return False
    return high is None or float(high) == 6.0


def _absorb_gate(sigmoid: ir.Node, quants: Quants, keep_float: Collection[str]) -> None:
    """x * Sigmoid(x) -> Q: the gate is int8 under LiteRT's own scale, and the product takes it from there."""
    gate = sigmoid.outputs[0]
    source = integers_of(sigmoid.inputs[0], quants)
    readers = [node for node, _ in gate.uses()]
    if source is None or gate.is_graph_output() or len(readers) != 1 or readers[0].op_type != "Mul":
        return
    (product,) = readers
    if product.name in keep_float:
        return
    others = [integers_of(value, quants) for value in product.inputs if value is not gate]
    if len(others) != 1 or others[0] is None or sole_quantizer(product.outputs[0], quants) is None:
        return
    sigmoid.replace_input_with(0, source)
    gate.type = source.type
    quants[gate] = _fixed_quant(int8_table()["Sigmoid"], source.dtype)


def _fixed_quant(row: Mapping[str, Any], dtype: ir.DataType | None) -> Quant:
    if dtype == ir.DataType.INT16:
        return Quant((row["scale_int16"],))
    return Quant((row["scale"],), row["zero_point"])


def _absorb(node: ir.Node, quants: Quants) -> None:
    row = int8_table()[node.op_type]
    data = range(len(node.inputs)) if row["data"] == "all" else row["data"]
    sources = {index: integers_of(input_of(node, index), quants) for index in data if _given(node, index)}
    quantizers = [sole_quantizer(value, quants) for value in node.outputs if value.name]
    integers = {index: value for index, value in sources.items() if value is not None}
    known = [item for item in quantizers if item is not None]
    if not _of_one_width(row, integers.values(), known):
        return
    if not sources or len(integers) < len(sources) or len(known) < len(quantizers):
        return
    if not all(_CONDITIONS[name](node) for name in row.get("conditions", ())):
        return
    if row["scales"] == "joined" and _differ(integers.values(), quants):
        integers = {index: _moved(node, value, known[0], quants) for index, value in integers.items()}
    made = _result_quant(row, [quants[value] for value in integers.values()], known, quants)
    if made is None:
        return
    for index, value in integers.items():
        node.replace_input_with(index, value)
    for item in known:
        _take_output(item, made, quants)


def _of_one_width(
    row: Mapping[str, Any], sources: Collection[ir.Value], quantizers: Collection[ir.Node]
) -> bool:
    """Whether all that is computed, before and behind, has one integer dtype, and the kernel takes that."""
    computed = [value for value in sources if constant_array(value) is None]
    widths = {value.dtype for value in (*computed, *(item.outputs[0] for item in quantizers))}
    return widths <= INTEGERS and len(widths) <= 1 and (ir.DataType.INT16 not in widths or "int16" in row)


def _differ(values: Collection[ir.Value], quants: Quants) -> bool:
    """Whether these have several scales; constants stay as they are."""
    computed = all(constant_array(value) is None for value in values)
    return computed and len({quants[value] for value in values}) > 1


def _moved(node: ir.Node, value: ir.Value, quantize: ir.Node, quants: Quants) -> ir.Value:
    """The int8 value under the scale of the quantizer behind the node, from a quantizer in front of it."""
    wanted = quants[quantize.outputs[0]]
    if quants[value] == wanted:
        return value
    new = ir.node("QuantizeLinear", [value, *quantize.inputs[1:]], name=f"{node.name}/{value.name}/moved")
    new.outputs[0].name = new.name
    new.outputs[0].type = quantize.outputs[0].type
    new.outputs[0].shape = value.shape
    graph = node.graph
    assert isinstance(graph, ir.Graph)
    graph.insert_before(node, new)
    quants[new.outputs[0]] = wanted
    return new.outputs[0]


def _given(node: ir.Node, index: int) -> bool:
    return index < len(node.inputs) and node.inputs[index] is not None


def _result_quant(
    row: Mapping[str, Any], ins: list[Quant], quantizers: list[ir.Node], quants: Quants
) -> Mapping[ir.Node, Quant] | None:
    """The scale that the integer kernel itself gives each result, None where it cannot compute this.

    Where that is not the graph's scale, the QUANTIZE that is left goes from one to the other.
    """
    wanted = {item: quants[item.outputs[0]] for item in quantizers}
    dtype = quantizers[0].outputs[0].dtype
    room = _ROOM_16 if dtype == ir.DataType.INT16 else _ROOM
    if row["scales"] == "free":
        finest = ins[0].scale * row.get("finest", 0)
        return wanted if all(quant.scale >= finest for quant in wanted.values()) else None
    if row["scales"] == "fixed":
        fixed = _fixed_quant(row, dtype)
        near = all(fixed.scale <= quant.scale * room for quant in wanted.values())
        return dict.fromkeys(wanted, fixed) if near else None
    if any(quant != ins[0] for quant in ins):
        return None
    exact = not row.get("rounds") or all(ins[0].scale <= quant.scale * room for quant in wanted.values())
    return dict.fromkeys(wanted, ins[0]) if exact else None


def _take_output(quantize: ir.Node, made: Mapping[ir.Node, Quant], quants: Quants) -> None:
    """The quantizer's source becomes int8 itself; the quantizer goes where both have one scale."""
    value, integers = quantize.inputs[0], quantize.outputs[0]
    assert value is not None
    value.type = integers.type
    quants[value] = made[quantize]
    if quants[integers] != quants[value]:
        return
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


def _is_elu_of_one(node: ir.Node) -> bool:
    return "alpha" not in node.attributes or node.attributes["alpha"].as_float() == 1.0


def _one_result(node: ir.Node) -> bool:
    return sum(bool(value.name) for value in node.outputs) == 1


def _two_dims(node: ir.Node) -> bool:
    return len(node.inputs[0].shape or ()) == 4 if node.inputs[0] is not None else False


_CONDITIONS = {
    "no padding": _no_padding,
    "alpha of 1": _is_elu_of_one,
    "clamp": _is_plain_clamp,
    "constant parameters": _constant_parameters,
    "one result": _one_result,
    "two spatial dims": _two_dims,
}
