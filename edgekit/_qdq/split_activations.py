"""Put the Q/DQ of a following Relu or Clip before it too, so that the op in front gets an integer kernel.

Qualcomm's compiler takes `Conv -> Relu -> Q` on int8 for a float convolution. ONNX Runtime makes it integer
only where the Relu is implied by the Q (uint8, zero-point 0). `Conv -> Q -> DQ -> Relu -> Q` with the same
scale always is, and gives the same numbers: rounding and clamping are monotone, so they commute with a
monotone clip. A clip that its Q implies is dropped.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterable

_CLIPS = {"Relu", "Clip"}
_RANGES = {
    ir.DataType.UINT8: (0, 255),
    ir.DataType.INT8: (-128, 127),
    ir.DataType.UINT16: (0, 65535),
}
# Ops with an integer kernel of their own in onnxruntime (QLinearConv, QGemm, QLinearAdd, ...).
_INTEGER_OPS = {
    "Add", "AveragePool", "Concat", "Conv", "Gemm", "GlobalAveragePool", "MatMul", "Mul", "Sigmoid",
}  # fmt: skip


def split_activations(model: ir.Model) -> int:
    """Change `model` itself; returns how many clips were split or dropped."""
    count = 0
    for graph in model.graphs():
        for clip in list(graph):
            quantize = _fused_quantize(clip)
            if quantize is None:
                continue
            if _is_implied(clip, quantize):
                quantize.replace_input_with(0, clip.inputs[0])
                graph.remove(clip, safe=True)
            else:
                _insert_pair(clip, quantize)
            count += 1
    return count


def _is_implied(clip: ir.Node, quantize: ir.Node) -> bool:
    """True where the range of the Q lies within the clip's own bounds."""
    scale, zero = (
        ir.convenience.get_const_tensor(value) if value is not None else None
        for value in quantize.inputs[1:3]
    )
    if scale is None or zero is None or scale.size != 1 or zero.dtype not in _RANGES:
        return False
    low, high = (
        (code - int(zero.numpy().item())) * float(scale.numpy().item()) for code in _RANGES[zero.dtype]
    )
    bounds = [_bound(clip, 1, float("-inf")), _bound(clip, 2, float("inf"))]
    if clip.op_type == "Relu":
        bounds = [0.0, float("inf")]
    return bounds[0] <= low and high <= bounds[1]


def _bound(clip: ir.Node, index: int, absent: float) -> float:
    value = clip.inputs[index] if index < len(clip.inputs) else None
    tensor = ir.convenience.get_const_tensor(value) if value is not None else None
    return absent if tensor is None else float(tensor.numpy().item())


def _fused_quantize(clip: ir.Node) -> ir.Node | None:
    """The Q behind an integer op's own Relu or Clip; None where the pattern is another."""
    if clip.op_type not in _CLIPS or clip.domain not in ("", "ai.onnx") or clip.inputs[0] is None:
        return None
    value = clip.inputs[0]
    producer = value.producer()
    if producer is None or producer.op_type not in _INTEGER_OPS or producer.domain not in ("", "ai.onnx"):
        return None
    if len(list(value.uses())) != 1 or value.is_graph_output() or not _all_constant(clip.inputs[1:]):
        return None
    if not all(_is_dequantized(item) for item in producer.inputs[:2]):
        return None
    users = [node for node, _ in clip.outputs[0].uses()]
    if len(users) != 1 or users[0].op_type != "QuantizeLinear" or clip.outputs[0].is_graph_output():
        return None
    return users[0] if len(users[0].inputs) == 3 and users[0].inputs[0] is clip.outputs[0] else None


def _insert_pair(clip: ir.Node, quantize: ir.Node) -> None:
    value = clip.inputs[0]
    graph = clip.graph
    assert value is not None
    assert graph is not None
    name = f"{value.name}/split"
    params = quantize.inputs[1:]
    q = ir.Node("", "QuantizeLinear", [value, *params], _copied(quantize), name=f"{name}/q")
    quantized, restored = q.outputs[0], quantize.outputs[0]
    dq = ir.Node("", "DequantizeLinear", [quantized, *params], _copied(quantize, "axis"), name=f"{name}/dq")
    quantized.name, quantized.type, quantized.shape = f"{name}/quantized", restored.type, value.shape
    dq.outputs[0].name, dq.outputs[0].type, dq.outputs[0].shape = f"{name}/value", value.type, value.shape
    graph.insert_before(clip, [q, dq])
    clip.replace_input_with(0, dq.outputs[0])


def _copied(node: ir.Node, *names: str) -> list[ir.Attr]:
    """The node's attributes of these names (none given: all)."""
    found = [item for item in node.attributes.values() if isinstance(item, ir.Attr)]
    return [item for item in found if not names or item.name in names]


def _all_constant(values: Iterable[ir.Value | None]) -> bool:
    return all(value is None or value.is_initializer() or _is_constant(value) for value in values)


def _is_constant(value: ir.Value) -> bool:
    producer = value.producer()
    return producer is not None and producer.op_type == "Constant"


def _is_dequantized(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"
