"""Opens a built artifact on this host: its engine where TensorRT and a GPU are present, else ONNX Runtime."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import onnx
import onnxruntime as ort

from edgekit.errors import CannotRunHere, ModelError, SamplesError
from edgekit.targets.tensorrt.host import ENGINE_WORDS, tensorrt_here

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._values import Artifact
    from edgekit.target import Session

_NUMPY_TYPES = {
    "tensor(float)": "float32",
    "tensor(float16)": "float16",
    "tensor(double)": "float64",
    "tensor(int64)": "int64",
    "tensor(int32)": "int32",
    "tensor(int8)": "int8",
    "tensor(uint8)": "uint8",
    "tensor(bool)": "bool",
}


def open_session(artifact: Artifact, folder: Path) -> Session:
    """What `artifact.proves` names: the file in ONNX Runtime, or an engine built by a TensorRT of this host.

    Raises CannotRunHere where the words name an engine and this host has no TensorRT with a GPU.
    """
    path = folder / artifact.main
    if not artifact.proves.startswith(ENGINE_WORDS):
        return OnnxFileSession(path)
    if tensorrt_here() is None:
        raise CannotRunHere(
            f"the proof of {artifact.main} is an engine's, and this host has no TensorRT with a GPU",
            fix="verify it on the device with device/run.sh",
        )
    from edgekit.targets.tensorrt.engine_session import EngineSession

    return EngineSession(path)


class OnnxFileSession:
    """The exact file, no graph optimization, one thread: what the ONNX file says, not what an engine does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._session = _load(path, str(path))
        self._tapped: dict[tuple[str, ...], ort.InferenceSession] = {}

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by name in the file's types (float16 ones as float32), plus each tap the graph has."""
        session = self._session if not taps else self._with_taps(tuple(taps))
        wanted = [value.name for value in session.get_outputs()]
        results = session.run(wanted, _as_declared(session, feeds))
        return {name: _widen(np.asarray(array)) for name, array in zip(wanted, results, strict=True)}

    def _with_taps(self, taps: tuple[str, ...]) -> ort.InferenceSession:
        """The same file with more outputs, in memory; taps that the graph lacks are left out."""
        if taps not in self._tapped:
            model = onnx.load(self._path, load_external_data=False)
            given = {value.name for value in model.graph.output}
            made = {name for node in model.graph.node for name in node.output if name}
            model.graph.output.extend(
                onnx.ValueInfoProto(name=tap) for tap in dict.fromkeys(taps) if tap in made - given
            )
            self._tapped[taps] = _load(self._path, model.SerializeToString())
        return self._tapped[taps]


def _load(path: Path, model: str | bytes) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    if isinstance(model, bytes):
        options.add_session_config_entry(
            "session.model_external_initializers_file_folder_path", str(path.parent)
        )
    try:
        return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(
            f"{path.name} does not load in ONNX Runtime: {str(error).strip().splitlines()[0][:300]}",
            fix="build it again from the source model",
        ) from error


def _as_declared(session: ort.InferenceSession, feeds: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Each input in the file's float type; a missing one is refused by name."""
    given = {}
    for value in session.get_inputs():
        if value.name not in feeds:
            raise SamplesError(f"the sample has no input '{value.name}'", fix="give every input of the model")
        array = np.asarray(feeds[value.name])
        wanted = np.dtype(_NUMPY_TYPES.get(value.type, array.dtype.name))
        floats = array.dtype.kind == "f" and wanted.kind == "f"
        given[value.name] = array.astype(wanted) if floats else array
    return given


def _widen(array: np.ndarray) -> np.ndarray:
    return array.astype(np.float32) if array.dtype == np.float16 else array
