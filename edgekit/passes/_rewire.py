"""The few graph edits that passes share: read a constant, add one, put a node in, take one out."""

from __future__ import annotations

from contextlib import suppress
from copy import copy
from functools import cached_property
from typing import TYPE_CHECKING, TypeGuard

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    import numpy as np

CONTROL_FLOW = frozenset({"If", "Loop", "Scan", "SequenceMap"})


class Names:
    """Gives out value names that nothing in the model has yet, derived from the one asked for."""

    def __init__(self, model: ir.Model) -> None:
        self._model = model

    @cached_property
    def _taken(self) -> set[str]:
        """Read when the first name is asked for: most passes find nothing to do."""
        taken: set[str] = set()
        for graph in graphs_of(self._model):
            values = [*graph.inputs, *graph.initializers.values()]
            values += [output for node in graph for output in node.outputs]
            taken.update(value.name for value in values if value.name)
        return taken

    def free(self, name: str) -> str:
        """`name`, or with a number behind it where it is taken."""
        found, number = name, 0
        while found in self._taken:
            number += 1
            found = f"{name}_{number}"
        self._taken.add(found)
        return found

    def add_initializer(self, graph: ir.Graph, name: str, array: np.ndarray) -> ir.Value:
        """A new initializer of `graph`, called `name` if that is free."""
        value = initializer_from(ir.Tensor(array), self.free(name))
        graph.register_initializer(value)
        return value

    def take_initializers(self, body: ir.Graph, graph: ir.Graph, prefix: str) -> dict[ir.Value, ir.Value]:
        """Move a subgraph's own into `graph`; old value -> the new one, which has its users.

        They are new values: renaming the old one would rename its tensor, which the caller's model holds too.
        """
        moved: dict[ir.Value, ir.Value] = {}
        for name, value in tuple(body.initializers.items()):
            del body.initializers[name]
            if value.const_value is not None:
                new = initializer_from(value.const_value, self.free(f"{prefix}/{name}"))
                value.replace_all_uses_with(new)
                graph.register_initializer(new)
                moved[value] = new
        return moved

    def insert_before(
        self,
        node: ir.Node,
        op_type: str,
        inputs: Sequence[ir.Value | None],
        **attributes: int | float | str | Sequence[int],
    ) -> ir.Value:
        """The output of a new one-output node in front of `node`; its names follow from the node's own."""
        name = self.free(f"{node.outputs[0].name}/{op_type}")
        new = ir.node(op_type, inputs=inputs, attributes=attributes or None, name=name)
        new.outputs[0].name = name
        graph_of(node).insert_before(node, new)
        return new.outputs[0]


def initializer_from(tensor: ir.TensorProtocol, name: str) -> ir.Value:
    """A value that holds `tensor`, to be registered in a graph."""
    tensor = _renamed(tensor, name)
    shape = ir.Shape(tensor.shape.numpy())
    return ir.Value(name=name, shape=shape, type=ir.TensorType(tensor.dtype), const_value=tensor)


def _renamed(tensor: ir.TensorProtocol, name: str) -> ir.TensorProtocol:
    """The same data under another name; clones of the model share tensors, so the one given stays."""
    if isinstance(tensor, ir.LazyTensor) or is_hollow(tensor):
        twin = copy(tensor)  # a weight without values, or one that is drawn or turned
        twin.name = name
        return twin
    if isinstance(tensor, ir.ExternalTensor):
        return ir.ExternalTensor(
            tensor.location,
            tensor.offset,
            tensor.length,
            tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=name,
            base_dir=tensor.base_dir,
        )
    if tensor.dtype == ir.DataType.STRING:
        return ir.StringTensor(tensor.numpy(), name=name)
    return ir.Tensor(tensor.numpy(), tensor.dtype, shape=ir.Shape(tensor.shape.numpy()), name=name)


def all_nodes(model: ir.Model) -> Iterator[ir.Node]:
    """Every node of the graph and its subgraphs that is still in place when its turn comes."""
    return nodes_of(graphs_of(model))


def graphs_of(model: ir.Model) -> tuple[ir.Graph, ...]:
    """The main graph and those inside its nodes, in the order of `model.graphs()` but without its walks."""
    found: dict[ir.Graph, None] = {}
    _collect_graphs(model.graph, found)
    return tuple(found)


def _collect_graphs(graph: ir.Graph, found: dict[ir.Graph, None]) -> None:
    found[graph] = None
    for node in graph:
        for attribute in node.attributes.data.values():
            if attribute.type == ir.AttributeType.GRAPH:
                _collect_graphs(attribute.as_graph(), found)
            elif attribute.type == ir.AttributeType.GRAPHS:
                for inner in attribute.as_graphs():
                    _collect_graphs(inner, found)


def nodes_of(graphs: Iterable[ir.Graph]) -> Iterator[ir.Node]:
    """Every node of these graphs that is still in place when its turn comes."""
    for graph in graphs:
        for node in tuple(graph):
            if node.graph is not None:
                yield node


def graph_of(node: ir.Node) -> ir.Graph:
    """The graph a node lies in; functions must have been inlined before."""
    if not isinstance(node.graph, ir.Graph):
        raise TypeError(f"node '{node.name}' lies in no graph; inline functions first")
    return node.graph


def constant_tensor(value: ir.Value | None) -> ir.TensorProtocol | None:
    """The tensor of an initializer or of a Constant node's output; None where the value is computed."""
    if value is None or value.is_graph_input():
        return None
    if value.is_initializer():
        return value.const_value
    producer = value.producer()
    if producer is None or producer.op_type != "Constant" or producer.domain:
        return None
    attribute = producer.attributes.get("value")
    return None if attribute is None else attribute.as_tensor()


def constant_array(value: ir.Value | None) -> np.ndarray | None:
    """`constant_tensor` as a numpy array (external data are mapped, not copied)."""
    tensor = constant_tensor(value)
    return None if tensor is None else tensor.numpy()


def lies_in_file(tensor: ir.TensorProtocol | None) -> TypeGuard[ir.ExternalTensor]:
    """Whether a tensor is a part of a file: a subclass stands for numbers made when they are read."""
    return type(tensor) is ir.ExternalTensor


def is_hollow(tensor: ir.TensorProtocol) -> bool:
    """Whether it stands for numbers that lie neither in memory nor in a file."""
    return isinstance(tensor, ir.ExternalTensor) and not lies_in_file(tensor)


def let_go(tensor: ir.TensorProtocol) -> None:
    """Give back the memory that an external tensor is mapped to; it is mapped again when it is used."""
    if isinstance(tensor, ir.ExternalTensor):
        with suppress(BufferError):  # somebody still reads it: then the mapping goes with that view
            tensor.release()


def static_shape(value: ir.Value | None) -> tuple[int, ...] | None:
    """The value's shape where every dim is a number."""
    if value is None or value.shape is None or not value.shape.is_static():
        return None
    return tuple(value.shape.numpy())


def input_of(node: ir.Node, index: int) -> ir.Value | None:
    """The node's input, None where it is left out."""
    return node.inputs[index] if index < len(node.inputs) else None


def bypass(node: ir.Node, source: ir.Value) -> bool:
    """Let every user of the node's first output read `source`, and remove the node.

    False, with nothing changed, where the node's output is a graph output that `source` can't become
    (it is a graph input, a constant, another output, or comes from another graph).
    """
    output, graph = node.outputs[0], graph_of(node)
    if not output.is_graph_output():
        output.replace_all_uses_with(source)
        graph.remove(node, safe=True)
        return True
    producer = source.producer()
    if producer is None or producer.graph is not graph or source.is_graph_output():
        return False
    name, shape, kind = output.name, output.shape, output.type
    output.replace_all_uses_with(source, replace_graph_outputs=True)
    graph.remove(node, safe=True)
    source.name, source.shape, source.type = name, source.shape or shape, source.type or kind
    return True


def take_over(value: ir.Value, old: ir.Value) -> None:
    """Give `value` the users, name and shape of `old`, and remove old's producer."""
    producer = old.producer()
    name, shape, kind = old.name, old.shape, old.type
    old.replace_all_uses_with(value, replace_graph_outputs=True)
    if producer is not None:
        graph_of(producer).remove(producer, safe=True)
    value.name, value.shape, value.type = name, shape or value.shape, kind or value.type
