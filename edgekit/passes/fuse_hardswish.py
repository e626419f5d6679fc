"""x * Clip(x + 3, 0, 6) * k, or x * HardSigmoid(x) -> HardSwish, one operator in LiteRT and on the HTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.passes._rewire import Names, constant_array, input_of, static_shape
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import onnx_ir as ir
    from numpy.typing import NDArray

    Found = tuple[ir.Value, NDArray[Any] | None]  # x, and what its HardSwish is multiplied by


def fuse_hardswish(model: ir.Model) -> int:
    """Rewrite in place; returns how many were found. The numbers differ by float rounding alone."""
    return _fuse(model, lambda node: _read_gate(node) or _read_clip(node))


def fuse_unscaled_hardswish(model: ir.Model) -> int:
    """The same for x * Clip(x + 3, 0, 6) whose 1/6 went into weights: 6 * HardSwish(x)."""
    return _fuse(model, _read_unscaled)


def _fuse(model: ir.Model, read: Callable[[ir.Node], Found | None]) -> int:
    names, found = Names(model), 0
    for node in tuple(model.graph):
        pattern = read(node)
        if pattern is None:
            continue
        source, factor = pattern
        made = names.insert_before(node, "HardSwish", [source])
        made.shape, made.type = source.shape, source.type
        output = node.outputs[0]
        if factor is not None:
            values = names.add_initializer(model.graph, f"{output.name}/factor", factor)
            product = names.insert_before(node, "Mul", [made, values])
            product.shape, product.type = output.shape, output.type
            made = product
        producer = made.producer()
        assert producer is not None
        producer.name, name = node.name, output.name
        output.replace_all_uses_with(made, replace_graph_outputs=True)
        model.graph.remove(node, safe=True)
        made.name = name
        found += 1
    if found:
        remove_unused(model)
    return found


def _read_gate(node: ir.Node) -> Found | None:
    """x * HardSigmoid(x, 1/6, 1/2), whose gate nobody else reads."""
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
            return source, None
    return None


def _read_clip(node: ir.Node) -> Found | None:
    """x * Clip(x + 3, 0, 6), divided or multiplied by a constant, whose inside nobody else reads."""
    scaled = _read_scaled(node)
    multiply = None if scaled is None else _maker(scaled[0], "Mul")
    source = None if multiply is None else _read_product(multiply)
    return None if scaled is None or source is None else (source, scaled[1])


def _read_unscaled(node: ir.Node) -> Found | None:
    """x * Clip(x + 3, 0, 6)."""
    source = _read_product(node) if node.op_type == "Mul" and not node.domain else None
    return None if source is None else (source, np.array(6, np.float32))


def _read_product(multiply: ir.Node) -> ir.Value | None:
    """x of x * Clip(x + 3, 0, 6), whose inside nobody else reads."""
    for gate, source in (multiply.inputs, tuple(reversed(multiply.inputs))):
        clip = _maker(gate, "Clip")
        if clip is None or [_number(input_of(clip, index)) for index in (1, 2)] != [0.0, 6.0]:
            continue
        shift = _maker(clip.inputs[0], "Add")
        if shift is not None and source in shift.inputs and 3.0 in map(_number, shift.inputs):
            return source
    return None


def _read_scaled(node: ir.Node) -> Found | None:
    """(what the node multiplies, six times the constant; None for 1)."""
    if node.domain or node.op_type not in ("Div", "Mul") or len(node.inputs) != 2:
        return None
    value, other = _computed_first(node.inputs, either=node.op_type == "Mul")
    array = constant_array(other)
    if value is None or array is None or array.dtype != np.float32:
        return None
    if static_shape(value) != static_shape(node.outputs[0]) or (node.op_type == "Div" and not array.all()):
        return None
    factor = 6 * array if node.op_type == "Mul" else np.float32(6) / array
    return value, None if np.all(np.abs(factor - 1) < 1e-6) else factor.astype(np.float32)


def _computed_first(
    inputs: Sequence[ir.Value | None], *, either: bool
) -> tuple[ir.Value | None, ir.Value | None]:
    first, second = inputs
    return (second, first) if either and constant_array(first) is not None else (first, second)


def _maker(value: ir.Value | None, op: str) -> ir.Node | None:
    """The value's producer where it is this op and the value has one reader."""
    producer = value.producer() if value is not None else None
    if value is None or producer is None or producer.domain or producer.op_type != op:
        return None
    return producer if len(value.uses()) == 1 and not value.is_graph_output() else None


def _number(value: ir.Value | None) -> float | None:
    array = constant_array(value)
    return float(array.reshape(-1)[0]) if array is not None and array.size == 1 else None
