"""Multiplies a tensor's channels: in the constants of the nodes that make it, or by one Mul more."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, graph_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit.passes._rewire import Names

    Floats = NDArray[np.float64]


def scale_constants(value: ir.Value, factors: Floats, names: Names) -> bool:
    """Multiply `value` by `factors`, which broadcast, in the constants of what makes it; False without such.

    k * (a * c) = a * (k c); k * (a / c) = a / (c / k); k * (a + c) = k a + k c.
    """
    node = value.producer()
    if node is None or node.domain or node.op_type not in ("Mul", "Div", "Add", "Sub"):
        return False
    side = next((i for i in (0, 1) if constant_array(node.inputs[i]) is not None), None)
    if side is None or (node.op_type == "Div" and side == 0):
        return False
    data, constant = node.inputs[1 - side], constant_array(node.inputs[side])
    if data is None or constant is None:
        return False
    if node.op_type in ("Add", "Sub"):
        alone = len(data.uses()) == 1 and not data.is_graph_output()
        if not alone or not scale_constants(data, factors, names):
            return False
    scaled = constant / factors if node.op_type == "Div" else constant * factors
    made = names.add_initializer(graph_of(node), f"{value.name}/constant", scaled.astype(constant.dtype))
    node.replace_input_with(side, made)
    return True


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
