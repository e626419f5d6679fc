"""How numbers become integers: schemes, the forms of weights, and the parameters of each tensor."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from collections.abc import Mapping

WeightBits = Literal[4, 8]
BiasForm = Literal["float", "int32"]
ConvOutput = Literal["int8", "float"]
GemmOutput = Literal["float", "int8", "all"]
FrontEnd = Literal["int8", "float"]
Compute = Literal["fp32", "fp16"]
Activation = Literal["int8", "uint8", "int16", "uint16"]
# Precisions with integer weights beside float activations, and the bits of those weights.
WEIGHT_BITS: dict[str, WeightBits] = {"w8": 8, "w4": 4}


@dataclass(frozen=True)
class Scheme:
    """How numbers become integers: the activation and weight forms of one Q/DQ graph.

    `portable`: int8 symmetric activations, zero-point 0, scales that fp16 holds exactly.
    `native-u8`: uint8 asymmetric activations, uint8 weights around 128 (ONNX Runtime).
    `native-u8-s8`, `native-u16-s8`: uint8 or uint16 asymmetric activations, int8 weights (Hexagon).
    `native-u8-s4`, `native-u16-s4`: int4 weights where they are many, the others int8 (Hexagon).
    `int16x8`: int16 symmetric activations, int8 weights (LiteRT); of single nodes only.
    """

    name: str
    activation: Activation
    symmetric: bool
    weight: Literal["int4", "int8", "uint8"]
    fp16_scales: bool

    @property
    def is_wide(self) -> bool:
        """Whether its activations have 16 bits."""
        return self.activation in ("int16", "uint16")


PORTABLE = Scheme("portable", "int8", True, "int8", True)
NATIVE_U8 = Scheme("native-u8", "uint8", False, "uint8", False)
NATIVE_U8_S8 = Scheme("native-u8-s8", "uint8", False, "int8", False)
NATIVE_U16_S8 = Scheme("native-u16-s8", "uint16", False, "int8", False)
NATIVE_U8_S4 = Scheme("native-u8-s4", "uint8", False, "int4", False)
NATIVE_U16_S4 = Scheme("native-u16-s4", "uint16", False, "int4", False)
INT16X8 = Scheme("int16x8", "int16", True, "int8", False)
SCHEMES = {
    scheme.name: scheme
    for scheme in (PORTABLE, NATIVE_U8, NATIVE_U8_S8, NATIVE_U16_S8, NATIVE_U8_S4, NATIVE_U16_S4)
}


@dataclass(frozen=True)
class WeightForm:
    """One way in which a target holds an op's constant weights as symmetric integers beside float data.

    blocks: how many weights along the summed axis may share a scale; empty: one scale a channel only.
    """

    op: str
    bits: WeightBits
    blocks: tuple[int, ...] = ()


@dataclass(frozen=True)
class QuantParams:
    """real = (q - zero_point) * scale, for one tensor."""

    scale: float
    zero_point: int
    dtype: Activation


@dataclass(frozen=True)
class Scales:
    """Activation quantization of one component under one scheme, from one calibration record."""

    scheme: str
    record_digest: str
    tensors: Mapping[str, QuantParams]
