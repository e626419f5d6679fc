"""Which integer weights beside float data a .tflite file holds (the Plan's `weights`)."""

from __future__ import annotations

from edgekit._schemes import WeightForm

_BLOCKS = (32, 64, 128)
_OPS = ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul")

# Convolutions take one scale a channel; matrices and tables also blocks of int4.
WEIGHT_FORMS = (
    *(WeightForm(op, 8) for op in _OPS),
    *(WeightForm(op, 4) for op in ("Conv", "ConvTranspose")),
    *(WeightForm(op, 4, _BLOCKS) for op in ("Gather", "Gemm", "MatMul")),
)
