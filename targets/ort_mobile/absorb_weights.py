"""Integer weights beside float data: their DequantizeLinear goes into onnxruntime's own operators.

Gemm and MatMul become MatMulNBits, a table of vectors GatherBlockQuantized (domain com.microsoft). Both
hold codes + 2^(bits-1) as unsigned numbers, with that term as the zero-point they imply, so they restore
the same weights. A .ort file has no int4 tensors: what has no such form is restored to float.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal

import numpy as np
import onnx_ir as ir

from edgekit.passes._held_weight import held_weight
from edgekit.passes._rewire import Names, constant_array, graph_of, input_of, let_go
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.passes._held_weight import HeldWeight

DOMAIN = "com.microsoft"
# accuracy_level of MatMulNBits: the data stay float32 (1), or are rounded to int8 block by block (4).
AccuracyLevel = Literal[1, 4]
# A scale of a whole channel is written once for each of this many weights: the kernels want a power of two.
_SPREAD = 128


@dataclass(frozen=True)
class Absorbed:
    """How many nodes read integer weights themselves, and how many weights were restored to float."""

    nodes: int
    restored: int


def absorb_weights(model: ir.Model, level: AccuracyLevel) -> Absorbed:
    """Rewrite the model in place."""
    writer = _Writer(Names(model), level)
    nodes = [node for node in tuple(model.graph) if not node.domain and node.op_type in _ABSORB]
    count = sum(_ABSORB[node.op_type](node, writer) for node in nodes)
    remove_unused(model)
    if count:
        model.opset_imports[DOMAIN] = 1
    return Absorbed(count, _restore_int4(model))


@dataclass(frozen=True)
class _Rows:
    """A weight as the operators want it: [rows, columns], its columns in blocks of `block`."""

    held: HeldWeight
    turned: bool  # the codes lie [columns, rows] in the graph

    @property
    def size(self) -> tuple[int, int]:
        rows, columns = self.held.shape[::-1] if self.turned else self.held.shape
        return rows, columns

    @property
    def block(self) -> int:
        return self.held.block or _SPREAD

    def scales(self) -> NDArray[np.float32]:
        """[rows, blocks]."""
        if self.held.block:
            return np.ascontiguousarray(self.held.scales.T if self.turned else self.held.scales)
        return np.repeat(self.held.scales.reshape(-1, 1), -(-self.size[1] // self.block), axis=1)

    def packed(self, *, width: int) -> NDArray[np.uint8]:
        """[rows, width * bits / 8]; columns beyond the weight's own hold the zero-point."""
        zero = 1 << (self.held.bits - 1)
        codes = self.held.codes.astype(np.int8, copy=False)
        codes = codes.T if self.turned else codes
        stored = np.full((self.size[0], width), zero, np.uint8)
        np.add(codes.view(np.uint8), zero, out=stored[:, : self.size[1]])
        del codes
        let_go(self.held.tensor)
        if self.held.bits == 8:
            return stored
        high = np.left_shift(stored[:, 1::2], 4, dtype=np.uint8)
        return np.bitwise_or(stored[:, 0::2], high, dtype=np.uint8)


@dataclass(frozen=True)
class _Writer:
    names: Names
    level: AccuracyLevel
    made: dict[tuple[ir.Value, int], tuple[ir.Value, ir.Value]] = field(default_factory=dict)

    def parts(self, node: ir.Node, rows: _Rows, shape: tuple[int, ...]) -> tuple[ir.Value, ir.Value]:
        """Codes in `shape` and their scales, as initializers that equal readers share; made when saved."""
        key = rows.held.source, len(shape)
        if key not in self.made:
            graph, width = graph_of(node), int(np.prod(shape[1:])) * 8 // rows.held.bits
            name = self.names.free(f"{rows.held.source.name}/{len(shape)}d")
            tensor = ir.LazyTensor(
                lambda: ir.tensor(rows.packed(width=width).reshape(shape)),
                ir.DataType.UINT8,
                ir.Shape(shape),
                name=name,
            )
            codes = ir.Value(
                name=name, shape=ir.Shape(shape), type=ir.TensorType(tensor.dtype), const_value=tensor
            )
            graph.register_initializer(codes)
            self.made[key] = codes, self.names.add_initializer(graph, f"{name}/scale", rows.scales())
        return self.made[key]

    def product(self, node: ir.Node, rows: _Rows, bias: ir.Value | None) -> int:
        """The node as MatMulNBits(A, B, scales, zero_points?, g_idx?, bias?)."""
        (count, columns), bits = rows.size, rows.held.bits
        blocks = -(-columns // rows.block)
        codes, scales = self.parts(node, rows, (count, blocks, rows.block * bits // 8))
        attributes = {
            "K": columns,
            "N": count,
            "bits": bits,
            "block_size": rows.block,
            "accuracy_level": self.level,
        }
        inputs = [node.inputs[0], codes, scales, *([None, None, bias] if bias is not None else [])]
        return _replace(node, "MatMulNBits", inputs, attributes)


def _absorb_matmul(node: ir.Node, writer: _Writer) -> int:
    held, data = held_weight(input_of(node, 1)), node.inputs[0]
    if held is None or len(held.shape) != 2 or not held.scales_by(channel=1, summed=0):
        return 0
    if data is None or data.shape is None or len(data.shape) < 2:
        return 0
    return writer.product(node, _Rows(held, turned=True), None)


def _absorb_gemm(node: ir.Node, writer: _Writer) -> int:
    """Y = A B' + C, with C a number for each column."""
    held = held_weight(input_of(node, 1))
    turned = not (node.attributes["transB"].as_int() if "transB" in node.attributes else 0)
    moved = node.attributes["transA"].as_int() if "transA" in node.attributes else 0
    factors = [node.attributes[name].as_float() for name in ("alpha", "beta") if name in node.attributes]
    if held is None or moved or any(factor != 1 for factor in factors):
        return 0
    if not held.scales_by(channel=1 if turned else 0, summed=0 if turned else 1):
        return 0
    rows, bias = _Rows(held, turned), input_of(node, 2)
    if bias is None:
        return writer.product(node, rows, None)
    values = constant_array(bias)
    if values is None or not (values.size == 1 or values.shape[-1] == values.size == rows.size[0]):
        return 0
    spread = np.broadcast_to(values.reshape(-1), (rows.size[0],))
    return writer.product(
        node, rows, writer.names.add_initializer(graph_of(node), f"{node.name}/bias", spread)
    )


def _absorb_gather(node: ir.Node, writer: _Writer) -> int:
    held = held_weight(input_of(node, 0))
    axis = node.attributes["axis"].as_int() if "axis" in node.attributes else 0
    if held is None or len(held.shape) != 2 or axis % 2 or not held.scales_by(channel=0, summed=1):
        return 0
    rows = _Rows(held, turned=False)
    if rows.size[1] * held.bits % 8:
        return 0
    codes, scales = writer.parts(node, rows, (rows.size[0], rows.size[1] * held.bits // 8))
    attributes = {"gather_axis": 0, "quantize_axis": 1, "block_size": rows.block, "bits": held.bits}
    return _replace(node, "GatherBlockQuantized", [codes, node.inputs[1], scales], attributes)


def _replace(node: ir.Node, op: str, inputs: list[ir.Value | None], attributes: dict[str, int]) -> int:
    """Put an operator of onnxruntime's in the node's place; its result keeps its name. One node replaced."""
    new = ir.node(op, inputs, attributes, domain=DOMAIN, name=node.name)
    old, result = node.outputs[0], new.outputs[0]
    result.name, result.shape, result.type = old.name, old.shape, old.type
    graph = graph_of(node)
    graph.insert_before(node, new)
    old.replace_all_uses_with(result, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    return 1


def _restore_int4(model: ir.Model) -> int:
    """Let float weights stand where a DequantizeLinear of int4 is left; how many."""
    count, names = 0, Names(model)
    for node in tuple(model.graph):
        held = held_weight(node.outputs[0]) if node.op_type == "DequantizeLinear" else None
        if held is None or held.bits != 4:
            continue
        scales = np.repeat(held.scales, held.block, axis=held.axis) if held.block else held.scales
        if not held.block:
            scales = np.moveaxis(scales.reshape((-1,) + (1,) * (len(held.shape) - 1)), 0, held.axis)
        value = names.add_initializer(
            graph_of(node), f"{held.source.name}/float", held.codes.astype(np.float32) * scales
        )
        node.outputs[0].replace_all_uses_with(value)
        graph_of(node).remove(node, safe=True)
        count += 1
    remove_unused(model)
    return count


_ABSORB: dict[str, Callable[[ir.Node, _Writer], int]] = {
    "Gather": _absorb_gather,
    "Gemm": _absorb_gemm,
    "MatMul": _absorb_matmul,
}
