"""Which integer weights beside float data an explicit Q/DQ file for TensorRT holds (the Plan's `weights`)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._schemes import WeightForm

if TYPE_CHECKING:
    from edgekit.targets.tensorrt.op_table import OpTable

_BLOCKS = (32, 64, 128)


def weight_forms(table: OpTable) -> tuple[WeightForm, ...]:
    """int8 behind a DequantizeLinear, and int4 in blocks where the table has it (10.0 and later).

    A block's length is no attribute to TensorRT's parser: it follows from the shapes of codes and scales
    (onnx-tensorrt, release/10.0-GA, onnxOpImporters.cpp).
    """
    types = table.types("DequantizeLinear")
    int8 = [
        WeightForm(op, 8) for op in ("Conv", "ConvTranspose", "Gather", "Gemm", "MatMul") if "INT8" in types
    ]
    int4 = [WeightForm(op, 4, _BLOCKS) for op in ("Gather", "Gemm", "MatMul") if "INT4" in types]
    return (*int8, *int4)
