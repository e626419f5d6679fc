"""MatMul and Gemm by a constant weight -> 1x1 Conv in (B, C, 1, S), the form of Apple's Neural Engine.

Equal up to the order in which products are summed up. Elementwise nodes between two such convolutions
stay in the convolutions' layout, so that it is entered and left once for a chain of them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._channels_first import RANKS, ChannelsFirst, is_per_tensor, rank_of
from edgekit.passes._rewire import Names, constant_array, graph_of, input_of
from edgekit.passes.remove_unused import remove_unused

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True)
class _Weight:
    """[N, K, 1, 1], and the DequantizeLinear that reads it where it is quantized."""

    array: np.ndarray
    dequantize: ir.Node | None = None


@dataclass(frozen=True)
class _Linear:
    """y[..., N] = x[..., K] @ weight + bias; `bias` is an array [N], or a value that holds one."""

    source: ir.Value
    weight: _Weight
    bias: np.ndarray | ir.Value | None


def linear_to_conv(model: ir.Model) -> int:
    """Make each such node of the main graph a Conv; returns how many. Shapes must have been inferred.

    Left alone: an input of rank 1 or above 4, a weight that is not a matrix, weights quantized per input
    channel or in blocks, a bias that is no vector over the outputs, transA. Infer shapes again afterwards.
    """
    names = Names(model)
    layout = ChannelsFirst(names)
    count = 0
    for node in tuple(model.graph):
        linear = _read(node)
        if linear is not None:
            layout.leave(_convolve(node, linear, layout, names), node)
            count += 1
        elif node.graph is not None:
            layout.carry(node, is_linear)
    remove_unused(model)
    return count


def is_linear(node: ir.Node) -> bool:
    """Whether linear_to_conv makes a Conv of this node."""
    return _read(node) is not None


def _read(node: ir.Node) -> _Linear | None:
    if node.op_type not in ("MatMul", "Gemm") or node.domain or len(node.outputs) != 1:
        return None
    source, weight = node.inputs[0], _read_weight(node)
    if source is None or weight is None or constant_array(source) is not None:
        return None
    if rank_of(source) not in RANKS or rank_of(node.outputs[0]) != rank_of(source):
        return None
    if _number(node, "transA", 0):
        return None
    bias = _read_bias(node, len(weight.array))
    return None if bias is _NO_VECTOR else _Linear(source, weight, bias)


# A bias that is there and can't be a Conv's.
_NO_VECTOR = np.empty(0)


def _read_weight(node: ir.Node) -> _Weight | None:
    value = node.inputs[1]
    alpha = _number(node, "alpha", 1.0)
    array, dequantize = constant_array(value), None
    if array is None and value is not None:
        dequantize = value.producer()
        if dequantize is None or dequantize.op_type != "DequantizeLinear" or alpha != 1.0:
            return None
        array = constant_array(dequantize.inputs[0])
    if array is None or array.ndim != 2 or not array.size:
        return None
    outputs = 0 if _number(node, "transB", 0) else 1
    if dequantize is not None and not _has_scale_on(dequantize, outputs):
        return None
    if alpha != 1.0:
        array = (array.astype(np.float64) * alpha).astype(array.dtype)
    matrix = array if outputs == 0 else array.T
    return _Weight(np.ascontiguousarray(matrix)[:, :, None, None], dequantize)


def _has_scale_on(dequantize: ir.Node, axis: int) -> bool:
    """One constant scale, or one for each entry of that axis."""
    scale = constant_array(dequantize.inputs[1])
    if scale is None or _number(dequantize, "block_size", 0):
        return False
    return is_per_tensor(dequantize) or (scale.ndim == 1 and _number(dequantize, "axis", 1) % 2 == axis)


def _read_bias(node: ir.Node, channels: int) -> np.ndarray | ir.Value | None:
    value, beta = input_of(node, 2), _number(node, "beta", 1.0)
    if value is None or node.op_type == "MatMul":
        return None
    array = constant_array(value)
    if array is not None:
        vector = array.size == 1 or (array.size == channels == array.shape[-1])
        if not vector:
            return _NO_VECTOR
        scaled = (array.astype(np.float64).reshape(-1) * beta).astype(array.dtype)
        return np.ascontiguousarray(np.broadcast_to(scaled, (channels,)))
    is_vector = rank_of(value) == 1 and value.shape is not None and value.shape[0] == channels
    return value if is_vector and beta == 1.0 else _NO_VECTOR


def _convolve(node: ir.Node, linear: _Linear, layout: ChannelsFirst, names: Names) -> ir.Value:
    graph, name = graph_of(node), node.outputs[0].name
    weight = names.add_initializer(graph, f"{name}/weight", linear.weight.array)
    dequantize = linear.weight.dequantize
    if dequantize is not None:
        weight = layout.copy_node(dequantize, [weight, *dequantize.inputs[1:]], node)
        _set_axis(weight)
    inputs: Sequence[ir.Value | None] = [layout.enter(linear.source, node), weight]
    if isinstance(linear.bias, np.ndarray):
        inputs = [*inputs, names.add_initializer(graph, f"{name}/bias", linear.bias)]
    elif linear.bias is not None:
        inputs = [*inputs, linear.bias]
    return names.insert_before(node, "Conv", inputs, kernel_shape=(1, 1))


def _set_axis(weight: ir.Value) -> None:
    """Scales of a Conv's weight lie on its outputs, axis 0."""
    maker = weight.producer()
    if maker is not None and not is_per_tensor(maker):
        maker.attributes["axis"] = ir.AttrInt64("axis", 0)


def _number(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    if attribute is None:
        return default
    return attribute.as_float() if attribute.type == ir.AttributeType.FLOAT else attribute.as_int()
