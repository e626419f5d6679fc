"""Multiplies a tensor's channels: in the constants of the nodes that make it, or by one Mul more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, constant_tensor, graph_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.passes._rewire import Names

    Floats = NDArray[np.float64]


def takes_factors(value: ir.Value) -> bool:
    """Whether `scale_constants` can multiply `value`: the nodes that make it have the constants for that."""
    node = value.producer()
    side = None if node is None else _constant_side(node)
    if node is None or side is None:
        return False
    data = node.inputs[1 - side]
    if node.op_type in ("Mul", "Div") or data is None:
        return data is not None and not (node.op_type == "Div" and side == 0)
    return len(data.uses()) == 1 and not data.is_graph_output() and takes_factors(data)


def scale_constants(value: ir.Value, factors: Floats, names: Names) -> None:
    """Multiply `value`, which `takes_factors`, by factors that broadcast against it.

    k * (a * c) = a * (k c); k * (a / c) = a / (c / k); k * (a + c) = k a + k c.
    """
    node = value.producer()
    side = None if node is None else _constant_side(node)
    if node is None or side is None:
        raise TypeError(f"no constants make tensor '{value.name}'")
    data, constant = node.inputs[1 - side], constant_array(node.inputs[side])
    if data is None or constant is None:
        raise TypeError(f"no constants make tensor '{value.name}'")
    if node.op_type in ("Add", "Sub"):
        scale_constants(data, factors, names)
    scaled = constant / factors if node.op_type == "Div" else constant * factors
    made = names.add_initializer(graph_of(node), f"{value.name}/constant", scaled.astype(constant.dtype))
    node.replace_input_with(side, made)


def _constant_side(node: ir.Node) -> int | None:
    """Which input of a Mul, Div, Add or Sub is constant; None where none is, or for another op."""
    if node.domain or node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return None
    return next((side for side in (0, 1) if constant_tensor(node.inputs[side]) is not None), None)


def multiply(value: ir.Value, factors: Floats, names: Names) -> ir.Value:
    """The output of a new Mul behind `value`, by factors that broadcast against it."""
    producer = value.producer()
    if producer is None:
        raise TypeError(f"tensor '{value.name}' has no producer")
    graph = graph_of(producer)
    constant = names.add_initializer(graph, f"{value.name}/factors", factors.astype(np.float32))
    name = names.free(f"{value.name}/scaled")
    node = ir.node("Mul", [value, constant], name=name)
    scaled = node.outputs[0]
    scaled.name, scaled.type = name, ir.TensorType(ir.DataType.FLOAT)
    scaled.shape = None if value.shape is None else ir.Shape(value.shape)
    graph.insert_after(producer, node)
    return scaled
