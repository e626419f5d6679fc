"""Which integer weights beside float data onnxruntime computes with (the Plan's `weights`)."""

from __future__ import annotations

from edgekit._schemes import WeightForm

_BLOCKS = (32, 64, 128)

# MatMulNBits and GatherBlockQuantized of 4 and 8 bits; onnxruntime has no convolution on integer weights
# and float data.
WEIGHT_FORMS = tuple(
    WeightForm(op, bits, _BLOCKS if bits == 4 else ())
    for op in ("Gather", "Gemm", "MatMul")
    for bits in (8, 4)
)
