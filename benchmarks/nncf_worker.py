"""Quantizes with NNCF, in the peers' environment; the last line printed is JSON with its CPU time.

    python nncf_worker.py plain|transformer|controlled MODEL SAMPLES OUT

`transformer` tells it that the model is one (SmoothQuant, its own rules for attention). `controlled` is
quantize_with_accuracy_control with half a percent of drop; it is given what edgekit's search has: the
calibration samples, and agreement with fp32's own classes on them.
"""

from __future__ import annotations

import json
import resource
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter

MOST_DROP = 0.005
OPSET = 17


def read_samples(folder: Path) -> list[dict[str, Any]]:
    """Every .npz of the folder."""
    found = []
    for file in sorted(folder.glob("*.npz")):
        with np.load(file, allow_pickle=False) as arrays:
            found.append({name: arrays[name] for name in arrays.files})
    return found


def open_session(model: onnx.ModelProto) -> ort.InferenceSession:
    """Node by node as written, so that no kernel of this host takes part in the judgement."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])


def read_classes(model: onnx.ModelProto, samples: list[dict[str, Any]]) -> list[Any]:
    """The classes of every row of every sample."""
    session = open_session(model)
    return [np.asarray(session.run(None, sample)[0]).argmax(-1) for sample in samples]


def quantize(mode: str, model: onnx.ModelProto, samples: list[dict[str, Any]]) -> Any:
    """NNCF's own defaults; `mode` says for what kind of model, or with accuracy control."""
    nncf: Any = import_module("nncf")
    data = nncf.Dataset(samples)
    settings: dict[str, Any] = {"subset_size": len(samples)}
    if mode == "transformer":
        return nncf.quantize(model, data, model_type=nncf.ModelType.TRANSFORMER, **settings)
    if mode == "plain":
        return nncf.quantize(model, data, **settings)
    expected = read_classes(model, samples)

    def agree(candidate: onnx.ModelProto, items: Any) -> tuple[float, list[float]]:
        chosen = list(items)
        places = [next(i for i, sample in enumerate(samples) if sample is item) for item in chosen]
        shares = [
            float(np.mean(got == expected[place]))
            for place, got in zip(places, read_classes(candidate, chosen), strict=True)
        ]
        return float(np.mean(shares)), shares

    return nncf.quantize_with_accuracy_control(
        model, data, data, agree, max_drop=MOST_DROP, drop_type=nncf.DropType.ABSOLUTE, **settings
    )


def main() -> None:
    """Raise an older opset to 17, as for every peer, quantize and save."""
    mode, source, folder, out = sys.argv[1], *map(Path, sys.argv[2:5])
    model = onnx.load(source)
    if model.opset_import[0].version < OPSET:
        model = version_converter.convert_version(model, OPSET)
    samples = read_samples(folder)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_utime
    onnx.save(quantize(mode, model, samples), out)
    print(json.dumps({"user_s": resource.getrusage(resource.RUSAGE_SELF).ru_utime - before}))


if __name__ == "__main__":
    main()
