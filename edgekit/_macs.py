"""Multiply-accumulates of one node, from its shapes.

Only products that are summed up count (convolution, matrix product, recurrence, attention); elementwise
work does not. A dim that isn't a number makes the figure None, never a guess.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    Shape = tuple[int, ...]


def node_macs(node: ir.Node) -> int | None:
    """Multiply-accumulates of one node for one run; 0 for ops that have none, None where a dim is unknown."""
    graphs = list(subgraphs_of(node))
    if graphs:
        inner = [node_macs(child) for graph in graphs for child in graph]
        return None if any(macs is None or macs > 0 for macs in inner) else 0
    formula = _FORMULAS.get(node.op_type)
    return 0 if formula is None else formula(node)


def subgraphs_of(node: ir.Node) -> Iterator[ir.Graph]:
    """The bodies that a node holds as attributes (If, Loop, Scan)."""
    for attribute in node.attributes.values():
        if attribute.type == ir.AttributeType.GRAPH:
            yield attribute.as_graph()
        elif attribute.type == ir.AttributeType.GRAPHS:
            yield from attribute.as_graphs()


def input_at(node: ir.Node, index: int) -> ir.Value | None:
    """An input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def dims_of(value: ir.Value | None) -> Shape | None:
    """A tensor's sizes, None where one is not a number."""
    shape = None if value is None else value.shape
    if shape is None and value is not None and value.const_value is not None:
        return tuple(value.const_value.shape.numpy())
    return tuple(shape.numpy()) if shape is not None and shape.is_static() else None


def sum_or_none(values: Iterable[int | None]) -> int | None:
    """The sum, None where a part is unknown."""
    total = 0
    for value in values:
        if value is None:
            return None
        total += value
    return total


def _product(*parts: Shape | None) -> int | None:
    known = [math.prod(part) for part in parts if part is not None]
    return math.prod(known) if len(known) == len(parts) else None


def _conv(weight: int) -> Callable[[ir.Node], int | None]:
    """Conv: every output element sums C_in/group * kernel products; W is [C_out, C_in/group, *kernel]."""

    def formula(node: ir.Node) -> int | None:
        kernel = dims_of(input_at(node, weight))
        return _product(dims_of(node.outputs[0]), None if kernel is None else kernel[1:])

    return formula


def _conv_transpose(node: ir.Node) -> int | None:
    """ConvTranspose: every input element goes into C_out/group * kernel sums; W [C_in, C_out/group, ...]."""
    kernel = dims_of(input_at(node, 1))
    return _product(dims_of(input_at(node, 0)), None if kernel is None else kernel[1:])


def _gemm(node: ir.Node) -> int | None:
    """Gemm: M * N * K, K being the shared side of A."""
    left, trans = dims_of(input_at(node, 0)), node.attributes.get("transA")
    axis = 0 if trans is not None and trans.as_int() else 1
    return _product(dims_of(node.outputs[0]), None if left is None else left[axis : axis + 1])


def _matmul(node: ir.Node) -> int | None:
    """MatMul: output elements (batch included) times the last dim of A."""
    left = dims_of(input_at(node, 0))
    return _product(dims_of(node.outputs[0]), None if left is None else left[-1:])


def _recurrent(node: ir.Node) -> int | None:
    """RNN, GRU, LSTM: steps * batch * (size of W + size of R); both directions are in W and R."""
    data = dims_of(input_at(node, 0))
    size = sum_or_none(_product(dims_of(input_at(node, index))) for index in (1, 2))
    return None if data is None or size is None else math.prod(data[:2]) * size


def _einsum(node: ir.Node) -> int | None:
    """Einsum of several operands: the product of all index sizes (one nest of loops); '...' is unknown."""
    if len(node.inputs) < 2:
        return 0
    equation = node.attributes["equation"].as_string().replace(" ", "")
    terms = equation.split("->")[0].split(",")
    sizes: dict[str, int] = {}
    for term, value in zip(terms, node.inputs, strict=False):
        dims = dims_of(value)
        if dims is None or len(dims) != len(term):
            return None
        for letter, size in zip(term, dims, strict=True):
            sizes[letter] = max(size, sizes.get(letter, 1))
    return math.prod(sizes.values()) * (len(terms) - 1)


def _attention(node: ir.Node) -> int | None:
    """Attention: queries times keys, and weights times values; a past key makes the length unknown here."""
    query, key, out = dims_of(input_at(node, 0)), dims_of(input_at(node, 1)), dims_of(node.outputs[0])
    if query is None or key is None or out is None or input_at(node, 4) is not None:
        return None
    return (math.prod(query) + math.prod(out)) * key[-2]


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
