"""ONNX Runtime sessions that give the expected values: the fp32 source and the Q/DQ reference."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import onnxruntime as ort

from edgekit._verify.pieces import PiecewiseSession
from edgekit.errors import ModelError, SamplesError
from edgekit.passes.round_to_float16 import round_to_float16
from edgekit.passes.serialize_model import save_beside, serialize_model, weight_bytes

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import onnx_ir as ir

    from edgekit._schemes import Compute

WHOLE_BYTES = 3_000_000_000  # of weights; a model with more is never loaded at once
# A model in memory with more weights than this is loaded from a file: serialized, it is in memory four times.
_INLINE_BYTES = 200_000_000


class OrtSession:
    """One model in ONNX Runtime on the CPU, node by node as written (no graph optimization, one thread).

    So it computes what the ONNX specification says, the same on every run: a Q/DQ pair is
    rounding in float, with no integer kernel that saturates.
    """

    def __init__(self, model: bytes | str, *, name: str) -> None:
        options = ort.SessionOptions()
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        options.intra_op_num_threads = 1
        options.inter_op_num_threads = 1
        options.log_severity_level = 3
        self._name = name
        try:
            self._session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise ModelError(
                f"model '{name}' does not load in ONNX Runtime: {_first_line(error)}",
                fix="check it with `python -m onnx.checker` and export it again",
            ) from error
        self.inputs: tuple[str, ...] = tuple(value.name for value in self._session.get_inputs())
        self.outputs: tuple[str, ...] = tuple(value.name for value in self._session.get_outputs())
        #: sha256 of the model file that it holds; None where it was loaded from a file.
        self.digest: str | None = hashlib.sha256(model).hexdigest() if isinstance(model, bytes) else None
        #: The model's own metadata, as `metadata_props` in the file.
        self.metadata: dict[str, str] = dict(self._session.get_modelmeta().custom_metadata_map)

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by name; a tap must be an output of the model."""
        absent = [name for name in self.inputs if name not in feeds]
        if absent:
            raise SamplesError(
                f"model '{self._name}': the sample has no input '{absent[0]}'",
                fix=f"give every input: {', '.join(self.inputs)}",
            )
        wanted = [*self.outputs, *(tap for tap in taps if tap not in self.outputs)]
        try:
            arrays = self._session.run(wanted, {name: feeds[name] for name in self.inputs})
        except Exception as error:
            raise SamplesError(
                f"model '{self._name}' does not run on the sample: {_first_line(error)}",
                fix="give each input the dtype and shape that `edgekit inspect` prints",
            ) from error
        return {name: _tensor(name, array) for name, array in zip(wanted, arrays, strict=True)}


def float_session(source: Path | ir.Model, model: ir.Model | None = None) -> OrtSession | PiecewiseSession:
    """The fp32 model as written: the ORIGINAL file where there is one, else a model in memory.

    `model` is what was read of the file: with more than WHOLE_BYTES of weights it is run piece by piece.
    """
    whole = source if model is None and not isinstance(source, Path) else model
    if whole is not None and weight_bytes(whole) > WHOLE_BYTES:
        return PiecewiseSession(whole)
    if isinstance(source, Path):
        return OrtSession(str(source), name=source.name)
    return _model_session(source, "fp32")


def reference_session(model: ir.Model, compute: Compute = "fp32") -> OrtSession:
    """The Q/DQ graph: what the artifact should compute, whatever its kernels.

    In plain float, or (fp16) with every float in it rounded to float16.
    """
    return _model_session(model if compute == "fp32" else round_to_float16(model), "Q/DQ reference")


def _model_session(model: ir.Model, name: str) -> OrtSession:
    if weight_bytes(model) <= _INLINE_BYTES:
        return OrtSession(serialize_model(model), name=name)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = Path(folder) / "model.onnx"
        save_beside(model, path)
        return OrtSession(str(path), name=name)


def _tensor(name: str, value: object) -> np.ndarray:
    if not isinstance(value, np.ndarray):
        raise ModelError(
            f"output '{name}' is a {type(value).__name__}, not a tensor",
            fix="end the model at tensors: a sequence or map has no numeric comparison",
        )
    return value


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return text[0][:300] if text else type(error).__name__
