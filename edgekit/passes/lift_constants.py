"""Constant nodes -> initializers, in subgraphs too."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import all_nodes, graph_of, initializer_from

if TYPE_CHECKING:
    from collections.abc import Callable


def _tensor_in(attribute: ir.Attr) -> ir.TensorProtocol:
    """As `as_tensor`, which asks 400 times a model whether a tensor follows a protocol."""
    tensor: ir.TensorProtocol = attribute.value
    return tensor


_TENSOR_OF: dict[str, Callable[[ir.Attr], ir.TensorProtocol]] = {
    "value": _tensor_in,
    "value_int": lambda attribute: ir.tensor(np.array(attribute.as_int(), np.int64)),
    "value_ints": lambda attribute: ir.tensor(np.array(attribute.as_ints(), np.int64)),
    "value_float": lambda attribute: ir.tensor(np.array(attribute.as_float(), np.float32)),
    "value_floats": lambda attribute: ir.tensor(np.array(attribute.as_floats(), np.float32)),
    "value_string": lambda attribute: ir.StringTensor(np.array(attribute.as_string().encode(), object)),
    "value_strings": lambda attribute: ir.StringTensor(
        np.array([text.encode() for text in attribute.as_strings()], object)
    ),
}


def lift_constants(model: ir.Model) -> int:
    """Turn every Constant node into an initializer of its graph; returns how many.

    Left alone: constants that are graph outputs themselves, and sparse ones.
    """
    return sum(_lift(node) for node in all_nodes(model) if node.op_type == "Constant" and not node.domain)


def _lift(node: ir.Node) -> bool:
    output = node.outputs[0]
    found = next(
        ((name, attribute) for name, attribute in node.attributes.items() if name in _TENSOR_OF), None
    )
    if found is None or output.is_graph_output():
        return False
    name, attribute = found
    graph = graph_of(node)
    initializer = initializer_from(_TENSOR_OF[name](attribute), output.name or "")
    output.replace_all_uses_with(initializer)
    graph.remove(node, safe=True)
    graph.register_initializer(initializer)
    return True
