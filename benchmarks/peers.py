"""The peer every figure is held against: onnxruntime's own quantize_static, and one score for all."""

from __future__ import annotations

import resource
import tempfile
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal
from unittest.mock import patch

import numpy as np
import onnx
import onnxruntime as ort
from onnx import version_converter
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static
from onnxruntime.quantization.shape_inference import quant_pre_process

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


_OPSET = 17  # older models are raised to it; newer ones may hold what it lacks


@dataclass(frozen=True)
class PeerSettings:
    """quantize_static's own settings; QDQ and MinMax are the same in all.

    weights: "channel" or "tensor"; onnxruntime 1.32 raises ValueError on magika's products by channel.
    one_thread: its sessions held to one, which it offers no setting for. As it comes, a second thread spins
    while it waits for work, and that is user time too.
    """

    activation: Literal["int8", "uint8"] = "int8"
    symmetric: bool = False
    ops: tuple[str, ...] | None = None
    weights: Literal["channel", "tensor"] = "channel"
    one_thread: bool = False


class _OneThread(ort.SessionOptions):  # type: ignore[misc]  # onnxruntime ships no types
    def __init__(self) -> None:
        super().__init__()
        self.intra_op_num_threads = 1


class _Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
    def __init__(self, folder: Path) -> None:
        self._files = iter(sorted(folder.glob("*.npz")))

    # Its own docstring says that None ends the samples; its annotation does not.
    def get_next(self) -> dict[str, NDArray[np.float32]] | None:  # pyright: ignore[reportIncompatibleMethodOverride]
        file = next(self._files, None)
        return None if file is None else load_feed(file)


def load_feed(file: Path) -> dict[str, NDArray[np.float32]]:
    """One sample: input name -> values."""
    with np.load(file, allow_pickle=False) as arrays:
        return {name: arrays[name] for name in arrays.files}


def quantize_with_peer(model: Path, samples: Path, out: Path, *, settings: PeerSettings) -> dict[str, float]:
    """Raise the opset, pre-process, quantize_static; user and system CPU seconds of the last call alone."""
    with tempfile.TemporaryDirectory() as scratch:
        raised, prepared = Path(scratch) / "raised.onnx", Path(scratch) / "prepared.onnx"
        given = onnx.load(model)
        old = given.opset_import[0].version < _OPSET
        onnx.save(version_converter.convert_version(given, _OPSET) if old else given, raised)
        quant_pre_process(raised, prepared, skip_symbolic_shape=True)
        before = resource.getrusage(resource.RUSAGE_SELF)
        with patch.object(ort, "SessionOptions", _OneThread) if settings.one_thread else nullcontext():
            quantize_static(
                prepared,
                out,
                _Reader(samples),
                quant_format=QuantFormat.QDQ,
                op_types_to_quantize=None if settings.ops is None else list(settings.ops),
                per_channel=settings.weights == "channel",
                activation_type=QuantType.QInt8 if settings.activation == "int8" else QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                extra_options={"ActivationSymmetric": True} if settings.symmetric else {},
            )
    after = resource.getrusage(resource.RUSAGE_SELF)
    return {"user_s": after.ru_utime - before.ru_utime, "system_s": after.ru_stime - before.ru_stime}


def open_reference(model: Path) -> ort.InferenceSession:
    """A session of an .onnx or .ort file as it is: nothing is fused or swapped for this host's kernels."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])


def run_first(session: ort.InferenceSession, feed: dict[str, NDArray[np.float32]]) -> NDArray[np.float32]:
    """The first output for one sample."""
    return np.asarray(session.run(None, feed)[0], np.float32)


def measure_sqnr(truth: Sequence[NDArray[np.float32]], got: Sequence[NDArray[np.float32]]) -> float:
    """10 log10(sum of squares of the truth / sum of squares of the error), over all samples, in dB."""
    signal = sum(float(np.square(a.astype(np.float64)).sum()) for a in truth)
    noise = sum(float(np.square(a.astype(np.float64) - b).sum()) for a, b in zip(truth, got, strict=True))
    return 10 * float(np.log10(signal / noise)) if noise else float("inf")
