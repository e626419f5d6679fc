"""One Q/DQ pair in a graph: the grid that it rounds to, and a new pair on a value."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of

if TYPE_CHECKING:
    from edgekit.passes._rewire import Names


@dataclass(frozen=True)
class Grid:
    """The numbers that a tensor's codes stand for: from `low` to `high` in steps of `step`."""

    low: float
    high: float
    step: float
    dtype: np.dtype[Any]


def grid_of(node: ir.Node) -> Grid | None:
    """The one grid of a Q or DQ node; None for one a channel, or without a constant integer zero-point."""
    scale, zero = constant_array(input_of(node, 1)), constant_array(input_of(node, 2))
    if scale is None or zero is None or scale.size != 1 or zero.dtype.kind not in "iu":
        return None
    limits = np.iinfo(zero.dtype)
    step, offset = float(scale.item()), int(zero.item())
    return Grid((limits.min - offset) * step, (limits.max - offset) * step, step, zero.dtype)


def add_pair(
    graph: ir.Graph, value: ir.Value, scale: float, zero_point: np.ndarray, names: Names
) -> ir.Value:
    """value -> Q -> DQ behind its producer; the restored value, which nobody reads yet."""
    producer = value.producer()
    constants = [
        names.add_initializer(graph, f"{value.name}/{part}", array)
        for part, array in (("scale", np.asarray(scale, np.float32)), ("zero_point", zero_point))
    ]
    integers = _node("QuantizeLinear", [value, *constants], value, "quantized", names)
    restored = _node("DequantizeLinear", [integers, *constants], value, "dequantized", names)
    integers.type = ir.TensorType(ir.DataType.from_numpy(zero_point.dtype))
    restored.type = ir.TensorType(ir.DataType.FLOAT)
    pair = [made for made in (integers.producer(), restored.producer()) if made is not None]
    if producer is None:
        graph.insert_before(next(iter(graph)), pair)
    else:
        graph.insert_after(producer, pair)
    return restored


def _node(op_type: str, inputs: list[ir.Value], source: ir.Value, part: str, names: Names) -> ir.Value:
    """The output of a new node, named and shaped after `source`."""
    name = names.free(f"{source.name}/{part}")
    made = ir.node(op_type, inputs, name=name).outputs[0]
    made.name = name
    made.shape = None if source.shape is None else ir.Shape(source.shape)
    return made
