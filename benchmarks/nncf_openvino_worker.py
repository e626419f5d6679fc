"""In the peers' environment: NNCF quantizes an ONNX model as OpenVINO IR. MODEL SHAPE SAMPLES OUT.xml."""

from __future__ import annotations

import sys
from pathlib import Path

import nncf  # pyright: ignore[reportMissingImports]
import numpy as np
import openvino as ov


def main() -> None:
    """Post-training quantization with NNCF's own settings."""
    model_path, shape, samples, out = sys.argv[1:]
    model = ov.Core().read_model(model_path)
    model.reshape([int(size) for size in shape.split(",")])
    feeds = []
    for path in sorted(Path(samples).glob("*.npz")):
        with np.load(path, allow_pickle=False) as arrays:
            feeds.append(next(iter(arrays.values())))
    quantized = nncf.quantize(model, nncf.Dataset(feeds), subset_size=len(feeds))
    ov.save_model(quantized, out, compress_to_fp16=False)


if __name__ == "__main__":
    main()
