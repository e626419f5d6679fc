"""What a model costs, node by node: multiply-accumulates, parameters, bytes, and peak activation memory.

Only products that are summed up count as MACs (convolution, matrix product, recurrence, attention);
elementwise work does not. A dim that isn't a number makes the figure None, never a guess.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._values import MacShare

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Shape = tuple[int, ...]

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
    last_use = {value: index for index, node in enumerate(model.graph) for value in _values_read(node)}
    kept = set(model.graph.outputs)
    alive = {value: _bytes_of(value) for value in inputs}
    peak: list[int | None] = [_sum(alive.values())]
    for index, node in enumerate(model.graph):
        alive |= {value: _bytes_of(value) for value in node.outputs if value.name}
        peak.append(_sum(alive.values()))
        ended = [value for value in alive if last_use.get(value, -1) <= index and value not in kept]
        for value in ended:
            del alive[value]
    return None if _sum(peak) is None else max(size or 0 for size in peak)


def count_macs(model: ir.Model) -> MacShare | None:
    """How many MACs of a Q/DQ or integer graph are int8; None where a dim is unknown.

    Conv, ConvTranspose, Gemm and MatMul count when data and weight both come from a DequantizeLinear
    of an int8 or uint8 tensor; the QLinear and Integer ops count by their operands' dtypes.
    """
    int8 = int16 = total = 0
    weights = {4: 0, 8: 0}
    for node in model.graph:
        macs = node_macs(node)
        if macs is None:
            return None
        total += macs
        if is_int8(node):
            int8 += macs
        elif _is_16_by_8(node):
            int16 += macs
        elif bits := _weight_bits(node):
            weights[bits] += macs
    return MacShare(int8, total, weight_int8=weights[8], weight_int4=weights[4], int16=int16)


def is_int8(node: ir.Node) -> bool:
    """Whether both factors of the node's product are int8 (or uint8) numbers."""
    if node.op_type in _FLOAT_PRODUCTS:
        return all(_is_dequantized_int8(_at(node, index)) for index in (0, 1))
    places = _INTEGER_PRODUCTS.get(node.op_type)
    return places is not None and all(_dtype_of(_at(node, index)) in _INT8 for index in places)


def _is_16_by_8(node: ir.Node) -> bool:
    """Whether the node multiplies dequantized 16-bit data by dequantized 8-bit weights (or 16-bit data)."""
    if node.op_type not in _FLOAT_PRODUCTS:
        return False
    data, weight = (_dequantized_dtype(_at(node, index)) for index in (0, 1))
    return data in _INT16 and weight in (*_INT8, *_INT16)


def _weight_bits(node: ir.Node) -> int:
    """Bits of a float product's constant weight behind a DequantizeLinear beside float data, else 0."""
    weight = None if node.op_type not in _FLOAT_PRODUCTS else _at(node, 1)
    producer = None if weight is None else weight.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return 0
    codes = _at(producer, 0)
    if codes is None or codes.const_value is None or _is_dequantized_int8(_at(node, 0)):
        return 0
    return {ir.DataType.INT8: 8, ir.DataType.INT4: 4}.get(codes.const_value.dtype, 0)


def node_macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of one node for one run; 0 for ops that have none, None where a dim is unknown."""
    graphs = list(_subgraphs(node))
    if graphs:
        inner = [node_macs(child) for graph in graphs for child in graph]
        return None if any(macs is None or macs > 0 for macs in inner) else 0
    formula = _FORMULAS.get(node.op_type)
    return 0 if formula is None else formula(node)


def _node_cost(node: ir.Node, counted: set[ir.Value]) -> NodeCost:
    weights = []
    for value in _values_read(node):
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
        activation_bytes=_sum(_bytes_of(value) for value in outputs),
        shape=None if shape is None else tuple(dim if isinstance(dim, int) else dim.value for dim in shape),
    )


def _values_read(node: ir.Node) -> Iterator[ir.Value]:
    """A node's inputs, and what its subgraphs read."""
    yield from (value for value in node.inputs if value is not None)
    for graph in _subgraphs(node):
        for child in graph:
            yield from _values_read(child)
        yield from graph.outputs


def _subgraphs(node: ir.Node) -> Iterator[ir.Graph]:
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def _sum(values: Iterable[int | None]) -> int | None:
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _at(node: ir.Node, index: int) -> ir.Value | None:
    return node.inputs[index] if index < len(node.inputs) else None


def _dims(value: ir.Value | None) -> Shape | None:
    shape = None if value is None else value.shape
    if shape is None and value is not None and value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    return tuple(shape.numpy()) if shape is not None and shape.is_static() else None


def _bytes_of(value: ir.Value) -> int | None:
    dims = _dims(value)
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
        return _dtype_of(_at(producer, 2)) or ir.DataType.UINT8  # ONNX: no zero-point means uint8
    return value.dtype


def _is_dequantized_int8(value: ir.Value | None) -> bool:
    return _dequantized_dtype(value) in _INT8


def _dequantized_dtype(value: ir.Value | None) -> ir.DataType | None:
    """The integers' dtype where a DequantizeLinear makes the value, else None."""
    producer = None if value is None else value.producer()
    if producer is None or producer.op_type != "DequantizeLinear":
        return None
    return _dtype_of(_at(producer, 0))


def _product(*parts: Shape | None) -> int | None:
    known = [math.prod(part) for part in parts if part is not None]
    return math.prod(known) if len(known) == len(parts) else None


def _conv(weight: int) -> Callable[[ir.Node], int | None]:
    """Conv: every output element sums C_in/group * kernel products; W is [C_out, C_in/group, *kernel]."""

    def formula(node: ir.Node) -> int | None:
        kernel = _dims(_at(node, weight))
        return _product(_dims(node.outputs[0]), None if kernel is None else kernel[1:])

    return formula


def _conv_transpose(node: ir.Node) -> int | None:
    """ConvTranspose: every input element goes into C_out/group * kernel sums; W [C_in, C_out/group, ...]."""
    kernel = _dims(_at(node, 1))
    return _product(_dims(_at(node, 0)), None if kernel is None else kernel[1:])


def _gemm(node: ir.Node) -> int | None:
    """Gemm: M * N * K, K being the shared side of A."""
    left, trans = _dims(_at(node, 0)), node.attributes.get("transA")
    axis = 0 if trans is not None and trans.as_int() else 1
    return _product(_dims(node.outputs[0]), None if left is None else left[axis : axis + 1])


def _matmul(node: ir.Node) -> int | None:
    """MatMul: output elements (batch included) times the last dim of A."""
    left = _dims(_at(node, 0))
    return _product(_dims(node.outputs[0]), None if left is None else left[-1:])


def _recurrent(node: ir.Node) -> int | None:
    """RNN, GRU, LSTM: steps * batch * (size of W + size of R); both directions are in W and R."""
    data = _dims(_at(node, 0))
    size = _sum(_product(_dims(_at(node, index))) for index in (1, 2))
    return None if data is None or size is None else math.prod(data[:2]) * size


def _einsum(node: ir.Node) -> int | None:
    """Einsum of several operands: the product of all index sizes (one nest of loops); '...' is unknown."""
    if len(node.inputs) < 2:
        return 0
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=False):
        dims = _dims(value)
        if dims is None or len(dims) != len(term):
            return None
        for letter, size in zip(term, dims, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


def _attention(node: ir.Node) -> int | None:
    """Attention: queries times keys, and weights times values; a past key makes the length unknown here."""
    query, key, out = _dims(_at(node, 0)), _dims(_at(node, 1)), _dims(node.outputs[0])
    if query is None or key is None or out is None or _at(node, 4) is not None:
        return None
    return (math.prod(query) + math.prod(out)) * key[-2]


_FLOAT_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# Op -> where its two factors stand among the inputs.
_INTEGER_PRODUCTS: dict[str, tuple[int, int]] = {
    **dict.fromkeys(("ConvInteger", "MatMulInteger"), (0, 1)),
    **dict.fromkeys(("QLinearConv", "QLinearMatMul"), (0, 3)),
}
_FORMULAS: dict[str, Callable[[ir.Node], int | None]] = {
    "Attention": _attention,
    "Conv": _conv(1),
    "ConvInteger": _conv(1),
    "ConvTranspose": _conv_transpose,
    "DeformConv": _conv(1),
    "Einsum": _einsum,
    "FusedConv": _conv(1),
    "FusedMatMul": _matmul,
    "GRU": _recurrent,
    "Gemm": _gemm,
    "LSTM": _recurrent,
    "MatMul": _matmul,
    "MatMulInteger": _matmul,
    "QLinearConv": _conv(3),
    "QLinearMatMul": _matmul,
    "RNN": _recurrent,
}
