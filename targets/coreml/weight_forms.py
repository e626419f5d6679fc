"""How Core ML holds integer weights beside float data (w8, w4)."""

from __future__ import annotations

from edgekit._schemes import WeightForm
from edgekit.targets.coreml.operators import systems

_OPS = ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul")
_FIRST_INT8 = 16  # constexpr_affine_dequantize: a scale a channel
_FIRST_INT4 = 18  # constexpr_blockwise_shift_scale: int4, and a scale a block
_BLOCKS = (16, 32, 64, 128, 256)


def weight_forms(level: int) -> tuple[WeightForm, ...]:
    """The forms of a deployment target (17 in iOS17).

    Public advice is a scale a channel for the Neural Engine and blocks for the GPU: the user chooses.
    """
    int8 = [WeightForm(op, 8) for op in _OPS if level >= _FIRST_INT8]
    int4 = [WeightForm(op, 4, _BLOCKS) for op in _OPS if level >= _FIRST_INT4]
    return (*int8, *int4)


def newer_for_weights() -> str:
    """The way out where the deployment target lacks a form."""
    return (
        f"deploy to {systems(_FIRST_INT4)} or newer for w4, {systems(_FIRST_INT8)} for w8, with "
        f"--target DEVICE@ios-{_FIRST_INT4}, or use --precision fp16"
    )
