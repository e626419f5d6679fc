"""x -> Mul, Add ... by constants (-> clamp) -> Q, and averages, become one int8 depthwise convolution.

Per channel that is a x + b: weights of +-127 with a scale each give it with the graph's one rounding,
where operators on int8 constants would round at every step.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, graph_of, static_shape
from edgekit.targets.litert.affine_chain import LARGEST_CODE, clamp_for, read_chain
from edgekit.targets.litert.graph import Quant
from edgekit.targets.litert.quantized_values import integers_of, sole_quantizer

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from numpy.typing import NDArray

    from edgekit.targets.litert.affine_chain import Affine
    from edgekit.targets.litert.quantized_values import Quants

_LARGEST_BIAS = 2.0**30
_SMALLEST_FACTOR = 2.0**-12
_AVERAGE_ATTRIBUTES = ("auto_pad", "dilations", "pads", "strides")


def fold_affine(model: ir.Model, quants: Quants, keep_float: Collection[str]) -> None:
    """Rewrite in place, after channels are last; nodes named in `keep_float` stay as they are."""
    names = Names(model)
    for quantize in tuple(model.graph):
        value = quantize.inputs[0] if quantize.op_type == "QuantizeLinear" else None
        last = value.producer() if value is not None else None
        if value is None or last is None or last.domain or last.name in keep_float:
            continue
        if sole_quantizer(value, quants) is not quantize or quantize.outputs[0].dtype != ir.DataType.INT8:
            continue  # 8 bits of a factor are too few for 16-bit data
        writer = _Writer(quants, names, last, quantize)
        made = writer.fold_average() if last.op_type == "AveragePool" else writer.fold_chain()
        if made is not None:
            quantize.outputs[0].replace_all_uses_with(made)


@dataclass(frozen=True)
class _Writer:
    """Puts int8 nodes in front of one quantizer; `last` is the float node that it reads."""

    quants: Quants
    names: Names
    last: ir.Node
    quantize: ir.Node

    @property
    def out(self) -> Quant:
        return self.quants[self.quantize.outputs[0]]

    def fold_chain(self) -> ir.Value | None:
        """The chain's result on int8, None where it is no such chain."""
        found, shape = read_chain(self.last, self.quants), static_shape(self.last.outputs[0])
        clamp = None if found is None else clamp_for(found[1], self.out)
        if found is None or clamp is None or not shape or 0 in shape:
            return None
        source, affine = found
        channels = shape[-1]
        wide = shape if len(shape) == 4 else (1, math.prod(shape[:-1]), 1, channels)
        data = source if wide == shape else self._reshaped(source, wide)
        weight, bias = self._channel_weights(affine, channels, self.quants[source].scale)
        attributes: dict[str, int | Sequence[int]] = {"group": channels, "kernel_shape": [1, 1]}
        made = self._node("Conv", [data, weight, bias], wide, attributes)
        if clamp == "Relu":
            made = self._node("Relu", [made], wide)
        elif clamp:
            limits = [self._constant(np.array(limit, np.float32)) for limit in (0, 6)]
            made = self._node("Clip", [made, *limits], wide)
        return made if wide == shape else self._reshaped(made, shape)

    def fold_average(self) -> ir.Value | None:
        """An average over windows, None where LiteRT's own operator does or padding is not counted.

        LiteRT's takes equal scales for granted; a mean's range is seldom its input's.
        """
        source, shape = integers_of(self.last.inputs[0], self.quants), static_shape(self.last.outputs[0])
        if source is None or shape is None or not _counts_all(self.last):
            return None
        if self.quants[source] == self.out and not _is_padded(self.last):
            return None
        kernel = list(self.last.attributes["kernel_shape"].as_ints())
        scale = float(np.float32(1 / (LARGEST_CODE * math.prod(kernel))))
        codes = np.full((shape[-1], 1, *kernel), LARGEST_CODE, np.int8)
        weight = self._constant(codes, Quant((scale,) * shape[-1]))
        given = {name: self.last.attributes[name].value for name in _AVERAGE_ATTRIBUTES
                 if name in self.last.attributes}  # fmt: skip
        return self._node(
            "Conv", [source, weight], shape, {**given, "group": shape[-1], "kernel_shape": kernel}
        )

    def _channel_weights(self, affine: Affine, channels: int, x: float) -> tuple[ir.Value, ir.Value]:
        """Weights [C, 1, 1, 1] and biases [C] for data in steps of x."""
        factor, offset = (np.broadcast_to(part, (channels,)) for part in (affine.factor, affine.offset))
        # Where a factor vanishes, what is left of the scale must still hold the bias in 30 bits.
        floor = np.maximum(np.abs(offset) / (_LARGEST_BIAS * x), self.out.scale / x * _SMALLEST_FACTOR)
        scales = np.maximum(np.abs(factor) / LARGEST_CODE, floor).astype(np.float32).astype(np.float64)
        codes = np.clip(np.rint(factor / scales), -LARGEST_CODE, LARGEST_CODE).astype(np.int8)
        units = (x * scales).astype(np.float32)
        weight = self._constant(codes.reshape(-1, 1, 1, 1), Quant(tuple(scales.tolist())))
        bias = np.rint(offset / (x * scales)).astype(np.int32)
        return weight, self._constant(bias, Quant(tuple(map(float, units))))

    def _reshaped(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        made = self._node("Reshape", [value, self._constant(np.array(shape, np.int64))], shape)
        self.quants[made] = self.quants[value]
        return made

    def _constant(self, array: NDArray[np.generic], quant: Quant | None = None) -> ir.Value:
        name = f"{self.last.name}/{array.dtype.name}"
        value = self.names.add_initializer(graph_of(self.quantize), name, array)
        if quant is not None:
            self.quants[value] = quant
        return value

    def _node(
        self,
        op: str,
        inputs: Sequence[ir.Value],
        shape: Sequence[int],
        attributes: dict[str, int | Sequence[int]] | None = None,
    ) -> ir.Value:
        """A node on int8 with the quantizer's scale; it has the old node's name, which reports show."""
        node = ir.node(op, inputs=inputs, attributes=attributes, name=self.last.name)
        made = node.outputs[0]
        made.name = self.names.free(f"{self.last.name}/{op}")
        made.shape, made.type = ir.Shape(shape), ir.TensorType(ir.DataType.INT8)
        self.quants[made] = self.out
        graph_of(self.quantize).insert_before(self.quantize, node)
        return made


def _counts_all(node: ir.Node) -> bool:
    """Every window is divided by the kernel's size."""
    numbers = {name: item.as_int() for name, item in node.attributes.items() if name.startswith("c")}
    if numbers.get("ceil_mode"):
        return False
    return bool(numbers.get("count_include_pad")) or not _is_padded(node)


def _is_padded(node: ir.Node) -> bool:
    pads, auto = node.attributes.get("pads"), node.attributes.get("auto_pad")
    kind = "NOTSET" if auto is None else auto.as_string()
    return kind.startswith("SAME") or (kind == "NOTSET" and pads is not None and any(pads.as_ints()))
