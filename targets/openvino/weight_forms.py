"""Which integer weights beside float data an IR holds: constants that OpenVINO restores as it computes."""

from __future__ import annotations

from edgekit._schemes import WeightForm

_OPS = ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul")

WEIGHT_FORMS = tuple(WeightForm(op, 8) for op in _OPS)
