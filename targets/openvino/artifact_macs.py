"""Multiply-accumulates counted in the IR itself: all of them, and those on int8 data and int8 weights."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit._values import MacShare

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

# Operators that hand on the values they get, so that a FakeQuantize before them still holds behind them.
_SAME_VALUES = frozenset(
    (
        *("MaxPool", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "StridedSlice", "Slice", "Split"),
        *("VariadicSplit", "Pad", "Gather", "Concat", "DepthToSpace", "SpaceToDepth", "Broadcast"),
    )
)
_CONVOLUTIONS = {
    "Convolution": False,
    "GroupConvolution": False,
    "ConvolutionBackpropData": True,
    "GroupConvolutionBackpropData": True,
}
_GATES = {"LSTMSequence": 4, "LSTMCell": 4, "GRUSequence": 3, "GRUCell": 3, "RNNSequence": 1, "RNNCell": 1}
_UNCOUNTED = frozenset(("Loop", "If", "TensorIterator", "ScaledDotProductAttention", "Einsum"))
_INT8_LEVELS = 256


@dataclass(frozen=True)
class MacCount:
    """`macs` is None where the IR does not say enough; `words` then say why, or how they were counted."""

    macs: MacShare | None
    words: str = ""


def count_macs(model: Any, largest: Mapping[str, Sequence[int]]) -> MacCount:
    """Counts over an openvino.Model; open sizes are taken at `largest`, by input name."""
    words = ""
    if model.is_dynamic():
        sizes = {
            port: largest[name]
            for port in model.inputs
            for name in port.get_names()
            if name in largest and port.get_partial_shape().is_dynamic
        }
        if len(sizes) < sum(port.get_partial_shape().is_dynamic for port in model.inputs):
            return MacCount(None, "MACs are unknown: sizes are open")
        model.reshape(sizes)
        words = "MACs are counted at the largest input shapes"
    totals = {"int8": 0, "all": 0, "w8": 0, "w4": 0}
    for node in model.get_ordered_ops():
        kind = node.get_type_name()
        if kind in _UNCOUNTED:
            return MacCount(None, f"MACs are unknown: {kind} '{node.get_friendly_name()}' is not counted")
        if kind != "MatMul" and kind not in _CONVOLUTIONS and kind not in _GATES:
            continue
        if any(value.get_partial_shape().is_dynamic for value in (*node.inputs(), *node.outputs())):
            return MacCount(None, f"MACs are unknown: '{node.get_friendly_name()}' has open sizes")
        macs = _node_macs(node)
        totals["all"] += macs
        form = "float" if kind in _GATES else _form(node)
        if form in totals:
            totals[form] += macs
    return MacCount(MacShare(totals["int8"], totals["all"], totals["w8"], totals["w4"]), words)


def _node_macs(node: Any) -> int:
    kind = node.get_type_name()
    data, weight = (list(node.input(index).get_shape()) for index in (0, 1))
    out = list(node.output(0).get_shape())
    if kind in _GATES:
        return _recurrent_macs(node, kind)
    if kind == "MatMul":
        flipped = node.get_attributes()["transpose_a"]
        return int(math.prod(out)) * int(data[-2] if flipped and len(data) > 1 else data[-1])
    grouped = int(kind.startswith("Group"))
    per_value = math.prod(weight[1 + grouped :])
    return int(math.prod(data if _CONVOLUTIONS[kind] else out)) * int(per_value)


def _recurrent_macs(node: Any, kind: str) -> int:
    """Batch x steps x directions x gates x hidden x (input + hidden); x is [batch, steps, input]."""
    hidden = int(node.get_attributes()["hidden_size"])
    x = list(node.input(0).get_shape())
    directions = 2 if node.get_attributes().get("direction") == "bidirectional" else 1
    return int(math.prod(x[:-1])) * directions * _GATES[kind] * hidden * (int(x[-1]) + hidden)


def _form(node: Any) -> str:
    """`int8` where both operands are; `w8` or `w4` where the weights alone are integers; else `float`."""
    bits = [_bits(node.input_value(index)) for index in (0, 1)]
    if all(kind in ("data", "w8") for kind in bits):
        return "int8"
    return bits[1] if bits[1] in ("w8", "w4") else "float"


def _bits(value: Any) -> str:
    """`data` behind a FakeQuantize of at most 256 levels, `w8`/`w4` for restored constants, else `float`."""
    node = value.get_node()
    kind = node.get_type_name()
    if kind == "FakeQuantize":
        return "data" if node.get_attributes()["levels"] <= _INT8_LEVELS else "float"
    if kind in ("Multiply", "Subtract", "Reshape", "Transpose", "Convert"):
        stored = _stored(node)
        if stored:
            return stored
    if kind in _SAME_VALUES:
        count = node.get_input_size() if kind == "Concat" else 1
        found = {_bits(node.input_value(index)) for index in range(count)}
        return found.pop() if len(found) == 1 else "float"
    return "float"


def _stored(node: Any) -> str:
    """What integers a chain of restoring operators ends in: `w8`, `w4`, or "" for none."""
    while node.get_type_name() in ("Multiply", "Subtract", "Reshape", "Transpose", "Convert"):
        node = node.input_value(0).get_node()
    if node.get_type_name() != "Constant":
        return ""
    return {"i8": "w8", "u8": "w8", "i4": "w4", "u4": "w4"}.get(node.get_element_type().to_string(), "")
