"""Symmetric int8 activations -> the same numbers as uint8 around 128, for compilers that mean unsigned codes.

Every code moves by 128 and its zero-point with it, so each real number stays what it was, bit for bit.
(Qualcomm's compiler takes int8 too, but its Softmax then answers 128 codes off, and its depthwise and fused
forms want unsigned data.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, input_of

if TYPE_CHECKING:
    from collections.abc import Iterator

_SHIFT = 128


def to_unsigned(model: ir.Model) -> int:
    """Change `model` itself; returns how many tensors were re-expressed. Constants keep their int8 codes."""
    names, moved = Names(model), 0
    for graph in model.graphs():
        for quantize in _signed_quantizers(graph):
            codes = quantize.outputs[0]
            for node in (quantize, *(reader for reader, _ in codes.uses())):
                zero = constant_array(input_of(node, 2))
                assert zero is not None
                shifted = (zero.astype(np.int16) + _SHIFT).astype(np.uint8)
                made = names.add_initializer(graph, f"{node.outputs[0].name}/zero_point", shifted)
                node.replace_input_with(2, made)
            codes.type = ir.TensorType(ir.DataType.UINT8)
            moved += 1
    return moved


def _signed_quantizers(graph: ir.Graph) -> Iterator[ir.Node]:
    """QuantizeLinear nodes to int8 whose codes only DequantizeLinear nodes with a zero-point read."""
    for node in list(graph):
        zero = constant_array(input_of(node, 2)) if node.op_type == "QuantizeLinear" else None
        if zero is None or zero.dtype != np.int8 or node.outputs[0].is_graph_output():
            continue
        readers = [reader for reader, _ in node.outputs[0].uses()]
        if all(
            reader.op_type == "DequantizeLinear" and constant_array(input_of(reader, 2)) is not None
            for reader in readers
        ):
            yield node
