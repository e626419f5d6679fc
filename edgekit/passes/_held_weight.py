"""A constant weight that a DequantizeLinear restores from symmetric integers: what it holds and how."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.passes._rewire import constant_array, constant_tensor, input_of

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

_INTEGERS = (ir.DataType.INT8, ir.DataType.INT4)


@dataclass(frozen=True)
class HeldWeight:
    """weight = codes * scales, symmetric.

    source: the initializer of the codes. scales: [channels] along `axis`, or of the weight's shape with
    `axis` divided by `block` (0: no blocks).
    """

    source: ir.Value
    tensor: ir.TensorProtocol
    scales: NDArray[np.float32]
    axis: int
    block: int

    @property
    def codes(self) -> NDArray[np.generic]:
        """int8, or int4 a byte each; read from where the model holds them."""
        return self.tensor.numpy()

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.tensor.shape.numpy())

    @property
    def bits(self) -> int:
        return 4 if self.tensor.dtype == ir.DataType.INT4 else 8

    def scales_by(self, *, channel: int, summed: int) -> bool:
        """Whether each entry of axis `channel` has one scale, or blocks of its `summed` axis have."""
        rank = len(self.shape)
        if self.block:
            return self.axis % rank == summed and self.shape[summed] % self.block == 0
        return self.axis % rank == channel and self.scales.size == self.shape[channel]


def held_weight(value: ir.Value | None) -> HeldWeight | None:
    """What lies behind the DequantizeLinear that makes `value`; None where it is no such constant weight."""
    made = None if value is None else value.producer()
    if made is None or made.op_type != "DequantizeLinear" or made.domain or input_of(made, 2) is not None:
        return None
    source, scales = made.inputs[0], constant_array(made.inputs[1])
    tensor = constant_tensor(source)
    if source is None or tensor is None or scales is None or tensor.dtype not in _INTEGERS:
        return None
    axis = made.attributes["axis"].as_int() if "axis" in made.attributes else 1
    block = made.attributes["block_size"].as_int() if "block_size" in made.attributes else 0
    return HeldWeight(source, tensor, scales, axis, block)
