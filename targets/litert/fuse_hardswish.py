"""x * Clip(x + 3, 0, 6) / 6, or x * HardSigmoid(x) -> HardSwish, which LiteRT has as one operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, input_of
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Sequence


def fuse_hardswish(model: ir.Model) -> int:
    """Rewrite in place; returns how many were found. The numbers differ by float rounding alone."""
    found = 0
    for node in tuple(model.graph):
        source = _gated(node) or _source(node)
        if source is None:
            continue
        output = node.outputs[0]
        fused = ir.node("HardSwish", inputs=[source], name=node.name)
        result = fused.outputs[0]
        name, result.shape, result.type = output.name, output.shape, output.type
        model.graph.insert_before(node, fused)
        output.replace_all_uses_with(result, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        result.name = name
        found += 1
    if found:
        remove_unused(model)
    return found


def _gated(node: ir.Node) -> ir.Value | None:
    """x, where the node is x * HardSigmoid(x, 1/6, 1/2) and nobody else reads the gate."""
    if node.domain or node.op_type != "Mul" or len(node.inputs) != 2:
        return None
    for gate, source in (node.inputs, node.inputs[::-1]):
        maker = _maker(gate, "HardSigmoid")
        if maker is None or source is None or maker.inputs[0] is not source:
            continue
        alpha, beta = (
            maker.attributes[name].as_float() if name in maker.attributes else default
            for name, default in (("alpha", 0.2), ("beta", 0.5))
        )
        if abs(alpha - 1 / 6) < 1e-6 and beta == 0.5:
            return source
    return None


def _source(node: ir.Node) -> ir.Value | None:
    """x, where the node is the last of x * Clip(x + 3, 0, 6) / 6 and nobody else reads the inside."""
    product = _scaled(node)
    multiply = _maker(product, "Mul")
    if multiply is None:
        return None
    for gate, source in (multiply.inputs, tuple(reversed(multiply.inputs))):
        clip = _maker(gate, "Clip")
        if clip is None or [_number(input_of(clip, index)) for index in (1, 2)] != [0.0, 6.0]:
            continue
        shift = _maker(clip.inputs[0], "Add")
        if shift is not None and source in shift.inputs and 3.0 in map(_number, shift.inputs):
            return source
    return None


def _scaled(node: ir.Node) -> ir.Value | None:
    """What the node divides by 6, or multiplies by a sixth."""
    if node.domain or node.op_type not in ("Div", "Mul") or len(node.inputs) != 2:
        return None
    first, second = node.inputs
    if node.op_type == "Div":
        return first if _number(second) == 6.0 else None
    sixth = float(np.float32(1 / 6))
    return _other(node.inputs, sixth)


def _other(inputs: Sequence[ir.Value | None], number: float) -> ir.Value | None:
    first, second = inputs
    if _number(second) == number:
        return first
    return second if _number(first) == number else None


def _maker(value: ir.Value | None, op: str) -> ir.Node | None:
    """The value's producer where it is this op and the value has one reader."""
    producer = value.producer() if value is not None else None
    if value is None or producer is None or producer.domain or producer.op_type != op:
        return None
    return producer if len(value.uses()) == 1 and not value.is_graph_output() else None


def _number(value: ir.Value | None) -> float | None:
    array = constant_array(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
