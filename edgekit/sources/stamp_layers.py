"""Copies the nodes of one layer in a graph without weights, for all the layers that are missing there."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.sources.extend_layers import Made, OfLayer, Program, Read, Shared, Step, extend
from edgekit.sources.shape_only import ShapeOnlyTensor

if TYPE_CHECKING:
    from collections.abc import Hashable, Mapping, Sequence

    from edgekit.sources.repeated_layers import RepeatedLayers


def stamp_layers(
    graph: ir.Graph,
    layers: RepeatedLayers,
    names: Mapping[int, str],
    inputs: Sequence[str],
    outputs: Sequence[str],
) -> bool:
    """Make a graph of `layers.fewest` layers one of `layers.count`; False, and nothing done, if they differ.

    names: the module's name of each parameter, by its number. inputs, outputs: those of the whole graph.
    """
    reader = _Reader(graph, layers, names)
    whole = extend(reader.program, layers.count)
    if whole is None:
        return False
    writer = _Writer(graph, reader)
    writer.write_inputs(inputs)
    writer.write_nodes(whole.steps)
    writer.write_outputs(outputs, whole.outputs)
    return True


class _Reader:
    """A graph as a program."""

    def __init__(self, graph: ir.Graph, layers: RepeatedLayers, names: Mapping[int, str]) -> None:
        self.layers, self.names = layers, names
        self.nodes = list(graph)
        self._places = {
            value: Made(place, number)
            for place, node in enumerate(self.nodes)
            for number, value in enumerate(node.outputs)
        }
        steps = [
            Step(_describe(node), tuple(map(self.read, node.inputs)), place)
            for place, node in enumerate(self.nodes)
        ]
        outputs = {layers.label_output(value.name or ""): self.read(value) for value in graph.outputs}
        self.program = Program(tuple(steps), outputs)

    def read(self, value: ir.Value | None) -> Read:
        """Where a value comes from; a weight and its transpose are two."""
        if value is None:
            return Shared(None)
        if value in self._places:
            return self._places[value]
        tensor = value.const_value
        if not isinstance(tensor, ShapeOnlyTensor):
            return self.layers.read_input(value.name or "") if tensor is None else Shared(value.name)
        own = self.layers.read_weight(self.names.get(tensor.offset or 0, value.name or ""))
        return replace(own, shape=tuple(tensor.shape.numpy()))


def _describe(node: ir.Node) -> Hashable:
    """Op, attributes and outputs of a node; one that holds a graph equals no other."""
    attributes = []
    for name, attribute in sorted(node.attributes.items()):
        if attribute.type in {ir.AttributeType.GRAPH, ir.AttributeType.GRAPHS}:
            return object()
        attributes.append((name, str(attribute.value)))
    outputs = tuple((value.dtype, str(value.shape)) for value in node.outputs)
    return node.domain, node.op_type, node.overload, tuple(attributes), outputs


class _Writer:
    """Brings a graph to the program that was extended from it."""

    def __init__(self, graph: ir.Graph, reader: _Reader) -> None:
        self.graph, self.reader, self.layers = graph, reader, reader.layers
        self.numbers = {self.layers.read_weight(name): number for number, name in reader.names.items()}
        self.nodes: list[ir.Node] = []
        self.held = {reader.read(value): value for value in (*graph.inputs, *graph.initializers.values())}

    def write_inputs(self, names: Sequence[str]) -> None:
        """The graph's inputs in that order; those of more layers are like the layer's before them."""
        for name in names:
            read = self.layers.read_input(name)
            if read not in self.held and isinstance(read, OfLayer):
                like = self.held[replace(read, layer=read.layer - 1)]
                self.held[read] = _like(like, name)
        self.graph.inputs.clear()
        self.graph.inputs.extend(self.held[self.layers.read_input(name)] for name in names)

    def write_nodes(self, steps: Sequence[Step]) -> None:
        """Each step's own node the first time, a copy of it afterwards."""
        seen = Counter[int]()
        for step in steps:
            node = self.reader.nodes[step.origin]
            inputs = [self._value(read, old) for read, old in zip(step.reads, node.inputs, strict=True)]
            if seen[step.origin]:
                node = _copy(node, inputs, self.layers.fewest - 2 + seen[step.origin])
                self.graph.insert_after(self.nodes[-1], node)
            else:
                for place, value in enumerate(inputs):
                    node.replace_input_with(place, value)
            seen[step.origin] += 1
            self.nodes.append(node)

    def write_outputs(self, names: Sequence[str], reads: Mapping[tuple[str, int | None], Read]) -> None:
        """The graph's outputs in that order, under their names."""
        values = [self._value(reads[self.layers.label_output(name)], None) for name in names]
        for name, value in zip(names, values, strict=True):
            if value is not None:
                value.name = name
        self.graph.outputs.clear()
        self.graph.outputs.extend(value for value in values if value is not None)

    def _value(self, read: Read, old: ir.Value | None) -> ir.Value | None:
        """The value that a read means; `old` is what the short graph's step reads there."""
        if isinstance(read, Made):
            return self.nodes[read.step].outputs[read.output]
        if isinstance(read, Shared):
            return old
        if read not in self.held and old is not None:
            self.held[read] = self._weight(read, old)
        return self.held[read]

    def _weight(self, read: OfLayer, like: ir.Value) -> ir.Value:
        """The weight of another layer, as an initializer of the graph."""
        number = self.numbers[replace(read, shape=())]
        name = f"{like.name}/{read.layer}"
        if like.name in self.reader.names.values():
            name = self.reader.names[number]
        tensor = ShapeOnlyTensor(name, like.dtype or ir.DataType.FLOAT, read.shape, number)
        made = ir.Value(name=name, shape=ir.Shape(read.shape), type=like.type, const_value=tensor)
        self.graph.register_initializer(made)
        return made


def _copy(node: ir.Node, inputs: Sequence[ir.Value | None], layer: int) -> ir.Node:
    outputs = [_like(value, f"{value.name}/{layer}") for value in node.outputs]
    return ir.Node(
        node.domain,
        node.op_type,
        inputs,
        tuple(node.attributes.values()),
        overload=node.overload,
        outputs=outputs,
        version=node.version,
        name=f"{node.name}/{layer}",
    )


def _like(value: ir.Value, name: str) -> ir.Value:
    shape = None if value.shape is None else value.shape.copy()
    return ir.Value(name=name, shape=shape, type=value.type)
