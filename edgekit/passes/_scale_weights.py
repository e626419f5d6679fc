"""y = f(x) * scale + shift per channel, folded into the weights of the Conv or Gemm that makes f(x)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import constant_array, constant_tensor, graph_of, input_of, let_go, static_shape

if TYPE_CHECKING:
    from edgekit.passes._rewire import Names

FOLDING_OPS = frozenset({"Conv", "ConvTranspose", "Gemm"})


def output_channels(node: ir.Node | None) -> int | None:
    """Channels that a Conv, ConvTranspose or Gemm with constant weights makes; None for anything else.

    None too where its output is read by others, or its bias is computed: then nothing can be folded in.
    """
    if node is None or node.op_type not in FOLDING_OPS or node.domain:
        return None
    output = node.outputs[0]
    weight = constant_array(input_of(node, 1))
    bias = input_of(node, 2)
    if weight is None or weight.dtype.kind != "f" or output.is_graph_output() or len(output.uses()) != 1:
        return None
    if bias is not None and constant_array(bias) is None:
        return None
    return int(weight.shape[_channel_axis(node)] * (_groups(node) if node.op_type == "ConvTranspose" else 1))


def fold_scale(node: ir.Node, scale: np.ndarray, shift: np.ndarray, names: Names) -> bool:
    """Change the node's weights and bias so that its output is scaled and shifted; both [channels], float64.

    New initializers are made, so that other nodes that share the old weights keep them.
    False, with nothing changed, where the new weights leave their dtype's range.
    """
    old = constant_tensor(node.inputs[1])
    weight, bias = constant_array(node.inputs[1]), constant_array(input_of(node, 2))
    if weight is None or old is None:
        raise TypeError(f"the weights of {node.op_type} '{node.name}' are not constant")
    channels = len(scale)
    factor = _attribute(node, "beta", 1.0) if node.op_type == "Gemm" else 1.0
    old_bias = np.zeros(channels) if bias is None else _channel_bias(bias, channels) * factor
    with np.errstate(over="ignore"):
        new_weight = _scaled(node, weight.astype(np.float64), scale).astype(weight.dtype)
        new_bias = (old_bias * scale + shift).astype(weight.dtype)
    if not (np.all(np.isfinite(new_weight)) and np.all(np.isfinite(new_bias))):
        return False
    del weight
    let_go(old)
    name, graph = node.outputs[0].name, graph_of(node)
    if len(node.inputs) < 3:
        node.resize_inputs(3)
    node.replace_input_with(1, names.add_initializer(graph, f"{name}/weight", new_weight))
    node.replace_input_with(2, names.add_initializer(graph, f"{name}/bias", new_bias))
    if node.op_type == "Gemm":
        node.attributes["beta"] = ir.AttrFloat32("beta", 1.0)
    return True


def _channel_bias(bias: np.ndarray, channels: int) -> np.ndarray:
    """[channels], from a Conv bias or a Gemm bias that may be a scalar, [C] or [1, C]."""
    return np.broadcast_to(bias.astype(np.float64).reshape(-1), (channels,))


def has_channel_bias(node: ir.Node) -> bool:
    """Whether the bias is one number a channel (a Gemm's may be a whole matrix)."""
    shape = static_shape(input_of(node, 2))
    return shape is None or all(size == 1 for size in shape[:-1])


def _scaled(node: ir.Node, weight: np.ndarray, scale: np.ndarray) -> np.ndarray:
    if node.op_type == "ConvTranspose":  # [C_in, C_out / groups, ...], C_in split into groups
        groups = _groups(node)
        parts = weight.reshape(groups, -1, *weight.shape[1:])
        per_group = scale.reshape(groups, 1, -1, *[1] * (weight.ndim - 2))
        return np.asarray(parts * per_group).reshape(weight.shape)
    shape = [1] * weight.ndim
    shape[_channel_axis(node)] = -1
    return np.asarray(weight * scale.reshape(shape))


def _channel_axis(node: ir.Node) -> int:
    if node.op_type == "Conv":
        return 0
    if node.op_type == "ConvTranspose":
        return 1
    return 0 if _attribute(node, "transB", 0) else 1


def _groups(node: ir.Node) -> int:
    return int(_attribute(node, "group", 1))


def _attribute(node: ir.Node, name: str, default: float) -> float:
    attribute = node.attributes.get(name)
    return default if attribute is None else float(attribute.value)
