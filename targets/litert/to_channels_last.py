"""Channels last: every spatial node reads NHWC, and transposes are moved down the graph until they cancel.

Each value is held as a physical value and the permutation that gives the ONNX layout back
(logical axis i lies at physical axis perm[i]). Nothing is transposed until a node asks for another
order; what cancels is never written. Afterwards spatial ops (see layout.toml) are channels last by
convention, and every other node means what ONNX says of its own inputs.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, static_shape
from edgekit.targets.litert.layout_rules import AXIS_RULES, family
from edgekit.targets.litert.reshape_layout import follow_reshape, order_for_reshape

if TYPE_CHECKING:
    from collections.abc import Sequence

    Perm = tuple[int, ...]


def to_channels_last(model: ir.Model) -> dict[str, Perm]:
    """Rewrite the model in place; graph inputs and outputs keep the ONNX layout. Shapes must be static.

    Returns the names of the values that now lie in another order: logical axis i at physical axis perm[i].
    """
    layout = Layout(model)
    for node in tuple(model.graph):
        layout.visit(node)
    layout.settle_outputs()
    return {
        value.name: perm
        for value, (physical, perm) in layout.held.items()
        if physical is value and value.name and perm != identity(len(perm))
    }


def channels_last(rank: int) -> Perm:
    """Where the logical axes N, C, spatial... lie when channels are last."""
    return (0, rank - 1, *range(1, rank - 1))


def identity(rank: int) -> Perm:
    """The ONNX layout."""
    return tuple(range(rank))


class Layout:
    """The physical form of every value, and the transposes made so far."""

    def __init__(self, model: ir.Model) -> None:
        self.graph = model.graph
        self.names = Names(model)
        self.held: dict[ir.Value, tuple[ir.Value, Perm]] = {}
        self.made: dict[tuple[ir.Value, Perm], ir.Value] = {}

    def visit(self, node: ir.Node) -> None:
        kind = family(node)
        if kind == "transpose":
            self._compose(node)
        elif kind == "reshape":
            self._reshape(node)
        elif kind == "spatial":
            self._spatial(node)
        elif kind == "elementwise":
            self._elementwise(node)
        elif kind == "axis":
            self._axis(node)
        else:
            self._plain(node)

    def settle_outputs(self) -> None:
        """Graph outputs in their own layout, under their own names."""
        outputs = list(self.graph.outputs)
        for index, value in enumerate(outputs):
            rank = len(value.shape) if value.shape is not None else 0
            if value not in self.held or self.held[value] == (value, identity(rank)):
                continue
            final = self.fetch(value, identity(rank), before=None)
            if final.is_graph_input() or final.is_initializer() or final in self.graph.outputs:
                final = self._insert("Identity", [final], final.shape, None)
            name, value.name = value.name, f"{value.name}/physical"
            final.name = name
            self.graph.outputs[index] = final

    def perm_of(self, value: ir.Value) -> Perm:
        rank = len(value.shape) if value.shape is not None else 0
        return self.held.get(value, (value, identity(rank)))[1]

    def fetch(self, value: ir.Value, perm: Perm, *, before: ir.Node | None) -> ir.Value:
        """The value's data with logical axis i at physical axis perm[i]; transposed where it must be."""
        physical, held = self.held.get(value, (value, identity(len(perm))))
        if held == perm:
            return physical
        order = [0] * len(perm)
        for logical, axis in enumerate(perm):
            order[axis] = held[logical]
        key = (physical, tuple(order))
        if key not in self.made:
            self.made[key] = self._transposed(physical, tuple(order), before)
        return self.made[key]

    def _transposed(self, value: ir.Value, order: Perm, before: ir.Node | None) -> ir.Value:
        array = constant_array(value)
        if array is not None:
            name = f"{value.name}/channels_last"
            return self.names.add_initializer(self.graph, name, np.ascontiguousarray(array.transpose(order)))
        producer = value.producer()
        if (
            producer is not None
            and producer.op_type == "DequantizeLinear"
            and "axis" not in producer.attributes
        ):
            # int8 is a quarter of the bytes, and an op must see its DequantizeLinear as its own input.
            integers = producer.inputs[0]
            assert integers is not None
            moved = self.made.get((integers, order)) or self._transposed(integers, order, before)
            self.made[integers, order] = moved
            return self._insert("DequantizeLinear", [moved, *producer.inputs[1:]], moved.shape, before)
        shape = static_shape(value) or ()
        target = [shape[axis] for axis in order]
        kept = [axis for axis in order if shape[axis] != 1]
        if kept == sorted(kept):
            constant = self.names.add_initializer(
                self.graph, f"{value.name}/shape", np.array(target, np.int64)
            )
            return self._insert("Reshape", [value, constant], ir.Shape(target), before)
        result = self._insert("Transpose", [value], ir.Shape(target), before)
        producer = result.producer()
        assert producer is not None
        producer.attributes["perm"] = ir.AttrInt64s("perm", order)
        return result

    def _insert(
        self,
        op: str,
        inputs: Sequence[ir.Value | None],
        shape: ir.Shape | None,
        before: ir.Node | None,
    ) -> ir.Value:
        first = inputs[0]
        assert first is not None
        name = self.names.free(f"{first.name}/{op}")
        node = ir.node(op, inputs=inputs, name=name)
        out = node.outputs[0]
        out.name, out.shape = name, shape
        out.type = ir.TensorType(ir.DataType.FLOAT) if op == "DequantizeLinear" else first.type
        if before is None:
            self.graph.append(node)
        else:
            self.graph.insert_before(before, node)
        return out

    def _hold(self, value: ir.Value, perm: Perm) -> None:
        """The output is now stored in this order: its shape becomes the physical one."""
        shape = static_shape(value)
        if shape is None or perm == identity(len(perm)):
            return
        moved = [0] * len(perm)
        for logical, axis in enumerate(perm):
            moved[axis] = shape[logical]
        self.held[value] = (value, perm)
        value.shape = ir.Shape(moved)

    def _compose(self, node: ir.Node) -> None:
        """A Transpose is only noted: its output is its input's data seen in another order."""
        source = node.inputs[0]
        assert source is not None
        rank = len(source.shape or ())
        order = node.attributes["perm"].as_ints() if "perm" in node.attributes else range(rank - 1, -1, -1)
        physical, held = self.held.get(source, (source, identity(rank)))
        output = node.outputs[0]
        self.held[output] = (physical, tuple(held[axis] for axis in order))

    def _reshape(self, node: ir.Node) -> None:
        """Axes that split or merge where they lie keep their order; LiteRT's rule reads the shape alone."""
        source, after = node.inputs[0], static_shape(node.outputs[0])
        if source is None or source not in self.held or after is None:
            return self._plain(node)
        physical, perm = self.held[source]
        shape = static_shape(physical)
        if shape is None:
            return self._plain(node)
        before = [shape[axis] for axis in perm]
        made = follow_reshape(before, after, perm)
        wanted: Perm | None = perm
        if made is None:  # images go on as images; for matrices the plain order is as near
            wanted = order_for_reshape(before, after, perm) if len(after) >= 4 else None
        made = None if wanted is None else follow_reshape(before, after, wanted)
        if wanted is None or made is None:
            return self._plain(node)
        node.replace_input_with(0, self.fetch(source, wanted, before=node))
        return self._hold(node.outputs[0], made)

    def _spatial(self, node: ir.Node) -> None:
        source = node.inputs[0]
        assert source is not None
        perm = channels_last(len(source.shape or ()))
        self._plain(node, 1)  # weights that are computed
        node.replace_input_with(0, self.fetch(source, perm, before=node))
        for value in node.outputs:
            if value.name and len(value.shape or ()) == len(perm):
                self._hold(value, perm)

    def _plain(self, node: ir.Node, begin: int = 0) -> None:
        for index, value in enumerate(node.inputs):
            if index >= begin and value is not None and value in self.held:
                node.replace_input_with(
                    index, self.fetch(value, identity(len(value.shape or ())), before=node)
                )

    def _axis(self, node: ir.Node) -> None:
        """Ops along axes: the rule renames the axes, or wants the plain layout."""
        source = node.inputs[0]
        assert source is not None
        perm = self.perm_of(source)
        outcome = AXIS_RULES[node.op_type](node, perm)
        if outcome is None:
            self._plain(node)
            return
        wanted, made, attributes, arrays = outcome
        data = range(len(node.inputs)) if node.op_type == "Concat" else range(1)
        for index in data:
            value = node.inputs[index]
            assert value is not None
            node.replace_input_with(index, self.fetch(value, wanted, before=node))
        for name, attribute in attributes.items():
            node.attributes[name] = (
                ir.AttrInt64(name, attribute)
                if isinstance(attribute, int)
                else ir.AttrInt64s(name, attribute)
            )
        for index, array in arrays.items():
            constant = self.names.add_initializer(self.graph, f"{node.name}/channels_last", array)
            node.replace_input_with(index, constant)
        for value in node.outputs:
            if value.name:
                self._hold(value, made)

    def _elementwise(self, node: ir.Node) -> None:
        """Every operand in one order: the one that is held by most of the full-rank operands."""
        rank = len(node.outputs[0].shape or ())
        perm = self._chosen(node, rank)
        if perm == identity(rank):
            self._plain(node)
            return
        for index, value in enumerate(node.inputs):
            if value is None or not len(value.shape or ()):
                continue
            full = self._full_rank(value, rank, node)
            node.replace_input_with(index, self.fetch(full, perm, before=node))
        self._hold(node.outputs[0], perm)

    def _chosen(self, node: ir.Node, rank: int) -> Perm:
        counts: dict[Perm, int] = {}
        for value in node.inputs:
            if value is None or constant_array(value) is not None or len(value.shape or ()) != rank:
                continue
            size = int(np.prod(static_shape(value) or (1,)))
            perm = self.perm_of(value)
            counts[perm] = counts.get(perm, 0) + size * (1 if perm == identity(rank) else 2)
        return max(counts, key=lambda perm: counts[perm]) if counts else identity(rank)

    def _full_rank(self, value: ir.Value, rank: int, node: ir.Node) -> ir.Value:
        """Leading dims of 1, so that an order of all axes can be given."""
        own = len(value.shape or ())
        if own == rank:
            return value
        array = constant_array(value)
        if array is not None:
            wide = array.reshape((1,) * (rank - own) + array.shape)
            return self.names.add_initializer(self.graph, f"{value.name}/wide", wide)
        plain = self.fetch(value, identity(own), before=node)
        target = [1] * (rank - own) + list(static_shape(plain) or ())
        shape = self.names.add_initializer(self.graph, f"{value.name}/wide_shape", np.array(target, np.int64))
        return self._insert("Reshape", [plain, shape], ir.Shape(target), node)
