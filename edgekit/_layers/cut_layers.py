"""The Q/DQ graph cut at every quantized tensor, so that each layer runs on exact inputs."""

from __future__ import annotations

from dataclasses import dataclass

import onnx_ir as ir

from edgekit.passes._rewire import Names

OWN = "/own"  # ends the name of a layer's own result
EXACT = "/exact"  # ends the name of the input that stands for a tensor's exact value


@dataclass(frozen=True)
class LayerModel:
    """One model in which every layer reads exact values.

    inputs: tensor -> the graph input that takes its exact value. outputs: tensor -> the graph output that
    is the layer's own result, quantized and restored. A model's own inputs are quantized as they come.
    """

    model: ir.Model
    inputs: dict[str, str]
    outputs: dict[str, str]


def cut_layers(qdq: ir.Model) -> LayerModel:
    """A clone of a Q/DQ graph whose quantized tensors are fed from outside; `qdq` stays unchanged."""
    model = qdq.clone()
    names = Names(model)
    outside = set(model.graph.inputs)
    inputs: dict[str, str] = {}
    outputs: dict[str, str] = {}
    for quantize in [node for node in model.graph if _quantizes_activation(node)]:
        value = quantize.inputs[0]
        if value is None or value in outside or value.name is None:
            continue
        restored = [node for node, _ in quantize.outputs[0].uses() if node.op_type == "DequantizeLinear"]
        tensor = _source_name(value, restored, model)
        exact = ir.val(names.free(f"{tensor}{EXACT}"), dtype=ir.DataType.FLOAT, shape=value.shape)
        model.graph.inputs.append(exact)
        own = _quantized_again(model, quantize, restored[0], names.free(f"{tensor}{OWN}"))
        quantize.replace_input_with(0, exact)
        inputs[tensor], outputs[tensor] = str(exact.name), str(own.name)
        model.graph.outputs.append(own)
    return LayerModel(model, inputs, outputs)


def _quantizes_activation(node: ir.Node) -> bool:
    if node.op_type != "QuantizeLinear" or node.inputs[0] is None:
        return False
    value = node.inputs[0]
    computed = not value.is_initializer() and value.const_value is None
    return computed and any(user.op_type == "DequantizeLinear" for user, _ in node.outputs[0].uses())


def _source_name(value: ir.Value, restored: list[ir.Node], model: ir.Model) -> str:
    """The tensor's public name: a graph output's lies behind its pair."""
    outputs = {output.name for output in model.graph.outputs}
    for node in restored:
        if node.outputs[0].name in outputs:
            return str(node.outputs[0].name)
    return str(value.name)


def _quantized_again(model: ir.Model, quantize: ir.Node, dequantize: ir.Node, name: str) -> ir.Value:
    """A second pair with the same parameters behind the layer's own result."""
    codes = ir.node("QuantizeLinear", quantize.inputs, dict(quantize.attributes), name=f"{name}/q")
    codes.outputs[0].name = f"{name}/codes"
    codes.outputs[0].type = quantize.outputs[0].type
    back = ir.node(
        "DequantizeLinear",
        [codes.outputs[0], *dequantize.inputs[1:]],
        dict(dequantize.attributes),
        name=f"{name}/dq",
    )
    result = back.outputs[0]
    result.name, result.type, result.shape = name, ir.TensorType(ir.DataType.FLOAT), quantize.inputs[0].shape  # type: ignore[union-attr]  # it has one
    model.graph.insert_after(quantize, [codes, back])
    return result
