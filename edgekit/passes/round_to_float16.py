"""Every float of a graph rounded to float16 and held in float32: what a float16 program computes, anywhere.

Operation by operation as the graph has them. A runtime that makes one operation of several (GELU, a layer's
normalization) rounds less often and holds no number between them: what leaves float16's range stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import CONTROL_FLOW, Names, constant_array, graph_of
from edgekit.passes.split_log_powers import hold_log_powers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_LARGEST = np.float32(np.finfo(np.float16).max)
_SMALLEST = np.float32(np.finfo(np.float16).smallest_subnormal)
# A float16 program computes in float32 with finite constants beyond its range; these stand for infinity.
_ENDLESS = 1e38
# What they give are numbers they read.
_MOVES = frozenset(
    ("Concat", "Expand", "Flatten", "Gather", "Identity", "MaxPool", "Neg", "Relu", "Reshape", "Slice",
     "Split", "Squeeze", "Tile", "Transpose", "Unsqueeze")
)  # fmt: skip
# Ops whose first inputs, so many, are numbers of the graph; the others are scales.
_NUMBERS = {"DequantizeLinear": 0, "QuantizeLinear": 1}


def round_to_float16(model: ir.Model) -> ir.Model:
    """A clone that rounds inputs, constants, results and the quotients of quantizers, but no scale.

    Logarithms of powers are written as float16 holds them. Every value must have its dtype (infer_shapes).
    A model with control flow comes back as it is.
    """
    if any(node.op_type in CONTROL_FLOW for node in model.graph):
        return model
    model = hold_log_powers(model)[0].clone()
    rounder = _Rounder(model)
    nodes = tuple(model.graph)
    for value in tuple(model.graph.initializers.values()):
        rounder.round_constant(value)
    for value in model.graph.inputs if nodes else ():
        rounder.round_value(value, before=nodes[0])
    for node in nodes:
        if node.op_type == "QuantizeLinear":
            rounder.round_quotient(node)
        elif node.op_type not in _MOVES:
            for value in node.outputs:
                rounder.round_value(value)
    return model


def round_number(array: Floats) -> Floats:
    """The nearest float16 numbers, held in float32.

    As coremltools has constants: what would become 0 is the least number of float16, and an array with
    finite numbers beyond its range stays as it is.
    """
    finite = np.where(np.abs(array) < _ENDLESS, array, 0)
    if np.abs(finite).max(initial=0.0) > _LARGEST:
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16).astype(np.float32)
    lost = (rounded == 0) & (array != 0)
    return np.asarray(np.where(lost, np.copysign(_SMALLEST, array), rounded), np.float32)


class _Rounder:
    """Adds roundings to one graph."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.names = Names(model)
        self.limit = self.names.add_initializer(model.graph, "largest_float16", np.asarray(_LARGEST))

    def round_constant(self, value: ir.Value) -> None:
        """A new constant for those readers to whom it is a number."""
        array = constant_array(value) if value.dtype == ir.DataType.FLOAT else None
        readers = [
            (node, place)
            for node, place in value.uses()
            if place < _NUMBERS.get(node.op_type, len(node.inputs))
        ]
        if array is None or not readers:
            return
        made = self.names.add_initializer(self.graph, f"{value.name}/float16", round_number(array))
        for node, place in readers:
            node.replace_input_with(place, made)

    def round_value(self, value: ir.Value, *, before: ir.Node | None = None) -> None:
        """Let everyone read a float value rounded; an output keeps its name.

        A result that nobody asked for has no name, and cannot be read.
        """
        if value.dtype != ir.DataType.FLOAT or not value.name:
            return
        readers, is_output = tuple(value.uses()), value.is_graph_output()
        nodes = self._rounding(value)
        producer = value.producer()
        if producer is not None:
            self.graph.insert_after(producer, nodes)
        elif before is not None:
            self.graph.insert_before(before, nodes)
        rounded = nodes[-1].outputs[0]
        for node, place in readers:
            node.replace_input_with(place, rounded)
        if is_output and producer is not None:
            value.name, rounded.name = rounded.name, value.name
            self.graph.outputs[:] = [rounded if output is value else output for output in self.graph.outputs]

    def round_quotient(self, node: ir.Node) -> None:
        """clip(round(float16(x / scale)) + zero_point): Div, and a quantizer whose scale is 1."""
        source, scale = node.inputs[:2]
        step = constant_array(scale)
        if source is None or step is None or step.size != 1:
            return
        quotient = self.names.insert_before(node, "Div", [source, scale])
        quotient.type, quotient.shape = ir.TensorType(ir.DataType.FLOAT), source.shape
        nodes = self._rounding(quotient)
        graph_of(node).insert_before(node, nodes)
        one = self.names.add_initializer(self.graph, f"{node.name}/one", np.ones(step.shape, np.float32))
        node.replace_input_with(0, nodes[-1].outputs[0])
        node.replace_input_with(1, one)

    def _rounding(self, value: ir.Value) -> list[ir.Node]:
        """|value| > 65504 ? value : float32(float16(value)), as nodes that lie in no graph yet."""
        half = self._node("Cast", [value], ir.DataType.FLOAT16)
        back = self._node("Cast", [half.outputs[0]], ir.DataType.FLOAT)
        size = self._node("Abs", [value], ir.DataType.FLOAT)
        beyond = self._node("Greater", [size.outputs[0], self.limit], ir.DataType.BOOL)
        kept = self._node("Where", [beyond.outputs[0], value, back.outputs[0]], ir.DataType.FLOAT)
        for node in (half, back, size, beyond, kept):
            node.outputs[0].shape = value.shape
        return [half, back, size, beyond, kept]

    def _node(self, op_type: str, inputs: list[ir.Value], dtype: ir.DataType) -> ir.Node:
        name = self.names.free(f"{inputs[0].name}/{op_type}")
        node = ir.node(op_type, inputs, {"to": int(dtype)} if op_type == "Cast" else None, name=name)
        node.outputs[0].name, node.outputs[0].type = name, ir.TensorType(dtype)
        return node
