"""What a model costs, node by node: multiply-accumulates, parameters, bytes, and peak activation memory.

A dim that isn't a number makes a figure None, never a guess.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._macs import dims_of, input_at, node_macs, subgraphs_of, sum_or_none
from edgekit._values import MacShare

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

_INT8 = frozenset({ir.DataType.INT8, ir.DataType.UINT8})
_INT16 = frozenset({ir.DataType.INT16, ir.DataType.UINT16})
# Shape arithmetic and flags are no parameters, though they are weights in the file.
NO_PARAMETERS = frozenset({ir.DataType.INT64, ir.DataType.BOOL, ir.DataType.STRING})


@dataclass(frozen=True)
class NodeCost:
    """One node of the main graph; `shape` and `activation_bytes` are those of its outputs.

    macs is None where a dim is unknown, or where a subgraph that runs an unknown number of times has any.
    An initializer that several nodes read counts at the first of them.
    """

    name: str
    op: str
    macs: int | None
    params: int
    weight_bytes: int
    activation_bytes: int | None
    shape: tuple[int | str | None, ...] | None


def node_costs(model: ir.Model) -> tuple[NodeCost, ...]:
    """The cost of every node in the model's order; shapes must have been inferred."""
    counted: set[ir.Value] = set()
    return tuple(_node_cost(node, counted) for node in model.graph)


def peak_activation_bytes(model: ir.Model) -> int | None:
    """Most bytes of inputs and computed values alive at once, in the model's order; None for unknown dims.

    A value lives from the node that makes it (inputs: from the start) through its last reader,
    graph outputs to the end. No buffer is shared or written in place.
    """
    inputs = [value for value in model.graph.inputs if not value.is_initializer()]
    last_use = {value: index for index, node in enumerate(model.graph) for value in values_read(node)}
    kept = set(model.graph.outputs)
    alive = {value: _bytes_of(value) for value in inputs}
    peak: list[int | None] = [sum_or_none(alive.values())]
    for index, node in enumerate(model.graph):
        alive |= {value: _bytes_of(value) for value in node.outputs if value.name}
        peak.append(sum_or_none(alive.values()))
        ended = [value for value in alive if last_use.get(value, -1) <= index and value not in kept]
        for value in ended:
            del alive[value]
    return None if sum_or_none(peak) is None else max(size or 0 for size in peak)


def count_macs(model: ir.Model, in_float: Collection[ir.Node] = ()) -> MacShare | None:
    """How many MACs of a Q/DQ or integer graph are on which integers; None where a dim is unknown.

    Conv, ConvTranspose, Gemm and MatMul count by the dtypes that DequantizeLinear makes their data and weight
    of; the QLinear and Integer ops by their operands' own. in_float: nodes that compute in float anyhow.
    """
    counts: Counter[str] = Counter()
    for node in model.graph:
        macs = node_macs(node)
        if macs is None:
            return None
        counts["total"] += macs
        form = None if node in in_float else _product_form(node)
        if form is not None:
            counts[form] += macs
    return MacShare(**{"int8": 0, **counts})


def _product_form(node: ir.Node) -> str | None:
    """Which count of MacShare the node's products belong to; None where they are plain float."""
    places = _INTEGER_PRODUCTS.get(node.op_type)
    if places is not None:
        return "int8" if all(_dtype_of(input_at(node, index)) in _INT8 for index in places) else None
    if node.op_type not in _FLOAT_PRODUCTS:
        return None
    data, weight = (_dequantized_dtype(input_at(node, index)) for index in (0, 1))
    if data in _INT8:
        return "int8" if weight in _INT8 else "int8x4" if weight == ir.DataType.INT4 else None
    if data in _INT16 and weight is not None:
        return "int16x4" if weight == ir.DataType.INT4 else "int16" if weight in _INT8 | _INT16 else None
    restored = input_at(node, 1)
    return None if restored is None else _WEIGHTS_ONLY.get(_constant_dtype(restored))


def _constant_dtype(restored: ir.Value) -> ir.DataType | None:
    """Of the constant that a DequantizeLinear makes the value of."""
    producer = restored.producer()
    codes = None if producer is None or producer.op_type != "DequantizeLinear" else input_at(producer, 0)
    return None if codes is None or codes.const_value is None else codes.const_value.dtype


def _node_cost(node: ir.Node, counted: set[ir.Value]) -> NodeCost:
    weights = []
    for value in values_read(node):
        if value.const_value is not None and value.is_initializer() and value not in counted:
            counted.add(value)
            weights.append(value.const_value)
    constant = node.attributes.get("value") if node.op_type == "Constant" else None
    if constant is not None:
        weights.append(constant.as_tensor())
    outputs = [value for value in node.outputs if value.name]
    shape = outputs[0].shape if outputs else None
    return NodeCost(
        name=node.name or "",
        op=node.op_type,
        macs=node_macs(node),
        params=sum(tensor.size for tensor in weights if tensor.dtype not in NO_PARAMETERS),
        weight_bytes=sum(tensor.nbytes for tensor in weights),
        activation_bytes=sum_or_none(_bytes_of(value) for value in outputs),
        shape=None if shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in shape),
    )


def values_read(node: ir.Node) -> Iterator[ir.Value]:
    """A node's inputs, and what its subgraphs read."""
    yield from (value for value in node.inputs if value is not None)
    for graph in subgraphs_of(node):
        for child in graph:
            yield from values_read(child)
        yield from graph.outputs


def _bytes_of(value: ir.Value) -> int | None:
    dims = dims_of(value)
    if dims is None or value.dtype is None or value.dtype == ir.DataType.STRING:
        return None
    return math.ceil(math.prod(dims) * value.dtype.itemsize)


def _dtype_of(value: ir.Value | None) -> ir.DataType | None:
    if value is None:
        return None
    if value.const_value is not None:
        return value.const_value.dtype
    producer = value.producer()
    if value.dtype is None and producer is not None and producer.op_type == "QuantizeLinear":
        return _dtype_of(input_at(producer, 2)) or ir.DataType.UINT8  # ONNX: no zero-point means uint8
    return value.dtype


def _dequantized_dtype(value: ir.Value | None) -> ir.DataType | None:
    """The integers' dtype where a DequantizeLinear makes the value, else None."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    return _dtype_of(input_at(producer, 0))


_WEIGHTS_ONLY: dict[ir.DataType | None, str] = {
    ir.DataType.INT8: "weight_int8",
    ir.DataType.INT4: "weight_int4",
}
_FLOAT_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Op -> where its two factors stand among the inputs.
_INTEGER_PRODUCTS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (0, 3)),
}
