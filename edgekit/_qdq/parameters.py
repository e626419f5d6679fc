"""Writes the constant weights and biases of int8 nodes as integers with their DQ."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq.placement import place
from edgekit._qdq.weights import bias_units, channel_axis, quantize_weight, round_bias, scheme_of
from edgekit.calibration.scales import weight_zero_point
from edgekit.errors import ModelError
from edgekit.passes._rewire import graph_of, input_of

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    from edgekit._qdq.round_layers import RoundedLayer
    from edgekit._qdq.weights import QuantizedWeight
    from edgekit._schemes import BiasForm, Compute, ConvOutput, FrontEnd, GemmOutput, QuantParams, Scheme
    from edgekit.passes._rewire import Names

    Floats = NDArray[np.float32]


@dataclass(frozen=True)
class QdqForm:
    """How one target wants the graph.

    bias: `float` keeps a float bias rounded to what int32 would hold; `int32` writes int32 and its DQ.
    conv_output: `int8` puts Q/DQ between a convolution and the activation behind it, which integer
    kernels need; `float` leaves that step to a runtime that fuses the two.
    gemm_output: `int8` quantizes the results of Gemm and MatMul, with the bias added behind them, all but
    the last ones, for runtimes whose integer products write nothing else; `float` what an int8 op reads.
    front_end: `float` leaves what only logarithms read in float (find_front_end).
    compute: what is between the integers; biases are corrected for its rounding.
    """

    scheme: Scheme
    bias: BiasForm = "float"
    conv_output: ConvOutput = "int8"
    gemm_output: GemmOutput = "float"
    front_end: FrontEnd = "int8"
    compute: Compute = "fp32"


@dataclass(frozen=True)
class ParameterWriter:
    """Replaces float parameters in one graph; nodes that quantize one weight alike share its DQ.

    rounded: the layers whose integer weights were chosen, by node.
    """

    form: QdqForm
    params: Mapping[ir.Value, QuantParams]
    names: Names
    rounded: Mapping[str, RoundedLayer] = field(default_factory=dict)
    _restored: dict[tuple[ir.Value, int | None, bytes], ir.Value] = field(default_factory=dict)

    def quantize(self, node: ir.Node) -> None:
        """The constant weight and bias of a compute node; other nodes have none.

        ModelError, with the node's name, where a weight or bias is not finite or has no scale.
        """
        row = place(node)
        weight = None if row is None or row.weight is None else input_of(node, row.weight)
        if row is None or row.weight is None or weight is None or weight.const_value is None:
            return
        bias = None if row.bias is None else _channel_bias(node, input_of(node, row.bias))
        data = node.inputs[0]
        input_scale = 1.0 if data is None or data not in self.params else self.params[data].scale
        try:
            quantized = quantize_weight(
                weight.const_value.numpy(),
                channel_axis(node),
                scheme=scheme_of(node, weight, self.form.scheme),
                bias=bias,
                input_scale=input_scale,
            )
        except ModelError as error:
            raise _at(node, error.problem) from error
        chosen = self.rounded.get(str(node.name))
        if chosen is not None:
            quantized = chosen.put_into(quantized)
        node.replace_input_with(row.weight, self._restore_weight(node, weight, quantized))
        if bias is not None and row.bias is not None:
            unit = bias_units(bias, input_scale, quantized.scales)
            node.replace_input_with(row.bias, self._write_bias(node, bias, unit))

    def _restore_weight(self, node: ir.Node, weight: ir.Value, quantized: QuantizedWeight) -> ir.Value:
        """Integer initializer -> DQ, at the head of the graph, before anyone can read it."""
        axis, scales = quantized.axis, quantized.scales
        kept = (weight, axis, scales.tobytes())
        if kept not in self._restored:
            zero = np.full(scales.shape, weight_zero_point(self.form.scheme), quantized.integers.dtype)
            self._restored[kept] = self._dequantize(
                str(weight.name),
                (quantized.integers, scales, zero),
                axis=axis,
                before=next(iter(graph_of(node))),
            )
        return self._restored[kept]

    def _write_bias(self, node: ir.Node, bias: Floats, unit: NDArray[np.float64]) -> ir.Value:
        """The bias as whole multiples of `unit`: in float, or as int32 with its DQ."""
        rounded, prefix = round_bias(bias, unit), f"{node.name}/bias"
        if self.form.bias == "float":
            return self.names.add_initializer(graph_of(node), prefix, (rounded * unit).astype(np.float32))
        zero = np.zeros(unit.shape, np.int32)
        integers = rounded.astype(np.int32)
        return self._dequantize(prefix, (integers, unit.astype(np.float32), zero), axis=0, before=node)

    def _dequantize(
        self,
        prefix: str,
        arrays: tuple[NDArray[np.generic], Floats, NDArray[np.generic]],
        *,
        axis: int | None,
        before: ir.Node,
    ) -> ir.Value:
        """(integers, scales, zero-points) -> DQ; the value it restores."""
        graph = graph_of(before)
        inputs = [
            self.names.add_initializer(
                graph, f"{prefix}/{part}", np.ascontiguousarray(array).reshape(array.shape)
            )
            for part, array in zip(("integers", "scale", "zero_point"), arrays, strict=True)
        ]
        name = self.names.free(f"{prefix}/restored")
        node = ir.node("DequantizeLinear", inputs, {} if axis is None else {"axis": axis}, name=name)
        restored = node.outputs[0]
        restored.name, restored.type = name, ir.TensorType(ir.DataType.FLOAT)
        restored.shape = ir.Shape(arrays[0].shape)
        graph.insert_before(before, node)
        return restored


def round_activation(values: Floats, params: QuantParams) -> Floats:
    """What Q and DQ make of values: rounded to even, saturated, restored, as ONNX defines them."""
    limits = np.iinfo(params.dtype)
    codes = np.rint(values / np.float32(params.scale)) + params.zero_point
    codes = np.clip(codes, limits.min, limits.max) - params.zero_point
    return np.asarray(codes * np.float32(params.scale), np.float32)


def _channel_bias(node: ir.Node, bias: ir.Value | None) -> Floats | None:
    """One number an output channel: a Gemm's bias may also be a scalar, [1], [1, C]."""
    if bias is None or bias.const_value is None:
        return None
    values = np.asarray(bias.const_value.numpy(), np.float32)
    if not np.isfinite(values).all():
        raise _at(node, "a bias is NaN or infinite")
    if node.op_type != "Gemm":
        return values
    weight, axis = node.inputs[1], channel_axis(node)
    if weight is None or weight.const_value is None or axis is None:
        return values
    return np.broadcast_to(values.reshape(-1), (weight.const_value.shape.numpy()[axis],))


def _at(node: ir.Node, problem: str) -> ModelError:
    return ModelError(
        f"{node.op_type} '{node.name}': {problem}",
        fix=f"keep this node out of int8 with --float '{node.name}', or export the model from sound weights",
    )
