from __future__ import annotations

from typing import TYPE_CHECKING

import flatbuffers
import numpy as np

from edgekit.targets.litert.artifact_macs import read_file
from edgekit.targets.litert.shared_vectors import make_builder
from tests.targets.litert_models import build, prepared
from tests.targets.test_litert_int8 import IMAGE, weighted

if TYPE_CHECKING:
    from pathlib import Path


def test_equal_vectors_are_written_once_and_others_apart() -> None:
    builder = make_builder(flatbuffers, 16)
    zeros = builder.CreateNumpyVector(np.zeros(4, np.int64))
    assert builder.CreateNumpyVector(np.zeros(4, np.int64)) == zeros
    others = [np.zeros(4, np.int32), np.zeros(8, np.int32), np.ones(4, np.int64), np.zeros(5, np.int64)]
    assert len({zeros, *(builder.CreateNumpyVector(other) for other in others)}) == 5


def test_a_file_holds_the_zero_points_of_all_channels_once(tmp_path: Path) -> None:
    artifact = build(
        prepared(weighted("Conv", (64, 4, 3, 3), axis=0, x=[1, 4, *IMAGE[2:]])), tmp_path, "int8"
    )
    data = (tmp_path / artifact.main).read_bytes()
    _, file = read_file(data)
    per_channel = [
        tensor.quantization.zeroPoint
        for tensor in file.subgraphs[0].tensors
        if tensor.quantization is not None and tensor.quantization.zeroPoint is not None
        and len(tensor.quantization.zeroPoint) == 64
    ]  # fmt: skip
    assert len(per_channel) == 2  # of the weights and of the bias
    assert not np.any(per_channel)
    assert data.count(b"\x40\0\0\0" + bytes(64 * 8)) == 1
