"""Values without elements -> empty constants: whatever they hold, it is known."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, static_shape

if TYPE_CHECKING:
    from collections.abc import Iterator

# Wider than this an empty shape is a mistake, and numpy refuses to make it.
_MOST_DIMS = 32


def fold_empty(model: ir.Model) -> int:
    """Let the users of every value of the main graph that has a dim of 0 read an empty constant.

    Returns how many values were replaced. Inputs stay inputs of the graph, and outputs its outputs. Values
    need their shapes (infer_shapes).
    """
    names = Names(model)
    folded = 0
    for value in tuple(_empty_values(model.graph)):
        assert value.dtype is not None
        array = np.empty(static_shape(value) or (0,), value.dtype.numpy())
        constant = names.add_initializer(model.graph, f"{value.name}/empty", array)
        for node, index in tuple(value.uses()):
            node.replace_input_with(index, constant)
        folded += 1
    return folded


def _empty_values(graph: ir.Graph) -> Iterator[ir.Value]:
    made = (value for node in graph for value in node.outputs if value.name)
    for value in (*graph.inputs, *made):
        shape = static_shape(value)
        if shape is None or 0 not in shape or len(shape) > _MOST_DIMS or not value.uses():
            continue
        if value.dtype is not None and value.dtype != ir.DataType.STRING:
            yield value
