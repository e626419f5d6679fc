"""Integer weights as tensors: in memory, or in a file as they are made where a model is too large."""

from __future__ import annotations

import shutil
import weakref
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgekit._schemes import WeightBits

_NAME = "codes.bin"


def pack_codes(codes: NDArray[np.int8], bits: WeightBits) -> ir.TensorProtocol:
    """int8 as it is; int4 two to a byte, the first in the low half."""
    if bits == 8:
        return ir.tensor(codes)
    flat = codes.reshape(-1).view(np.uint8)
    packed = flat[0::2] & 15
    packed[: flat.size // 2] |= flat[1::2] << 4
    return ir.PackedTensor(packed, ir.DataType.INT4, shape=ir.Shape(codes.shape))


class CodeFile:
    """A file of codes in `folder`, which is removed with the last tensor that reads from it."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._folder = folder
        weakref.finalize(self, shutil.rmtree, folder, ignore_errors=True)

    def keep(self, codes: ir.TensorProtocol) -> ir.ExternalTensor:
        """Write the codes behind those already there; OSError where the disk is full."""
        with (self._folder / _NAME).open("ab") as stream:
            start = stream.tell()
            stream.write(codes.tobytes())
        return ir.ExternalTensor(
            _NAME,
            start,
            codes.nbytes,
            codes.dtype,
            shape=ir.Shape(codes.shape.numpy()),
            name="codes",
            base_dir=self._folder,
        )
