"""Runs an artifact here: the HTP graph on Qualcomm's x86 library, the float baseline on the CPU provider."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, SamplesError
from edgekit.targets.qnn.compile_contexts import MODEL
from edgekit.targets.qnn.library import explain_missing, open_session

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path


class HtpSession:
    """One context, or (without a folder) one ONNX file on the CPU provider.

    `source` is the Q/DQ graph of the context: taps are read from a twin of it, compiled with them as outputs.
    """

    def __init__(self, main: Path, source: Path | None = None) -> None:
        self._source = source
        self._on_htp = main.is_dir()
        self._session = self._open(str(main / MODEL) if self._on_htp else str(main))
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]
        self._tapped: dict[tuple[str, ...], Any] = {}

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by name, and the taps that the Q/DQ graph computes. SamplesError for a misfit."""
        found = _run(self._session, feeds, self.inputs, self.outputs)
        wanted = tuple(tap for tap in taps if tap not in found and tap in self._tappable)
        if not wanted:
            return found
        if wanted not in self._tapped:
            self._tapped[wanted] = self._open(self._add_outputs(wanted))
        names = [self._tappable[tap] for tap in wanted]
        values = _run(self._tapped[wanted], feeds, self.inputs, names)
        return found | {tap: values[self._tappable[tap]] for tap in wanted}

    def _open(self, model: bytes | str) -> Any:
        try:
            if self._on_htp:
                need = explain_missing()
                if need is not None:
                    raise CannotRunHere("Qualcomm's x86 library cannot run here", fix=need)
                provider = {} if isinstance(model, str) else {"soc_model": "57", "htp_arch": "75"}
                return open_session(model, provider, {})
            return _open_on_cpu(model)
        except CannotRunHere:
            raise
        except Exception as error:
            raise BundleError(
                f"the artifact does not load here: {str(error).splitlines()[0][:300]}",
                fix="build it again, or use the onnxruntime-qnn named in the manifest",
            ) from error

    @cached_property
    def _graph(self) -> Any:
        import onnx_ir as ir

        return None if self._source is None else ir.load(self._source)

    @cached_property
    def _tappable(self) -> dict[str, str]:
        """Source tensor -> the restored value of the Q/DQ graph that stands for it."""
        if self._graph is None:
            return {}
        made = {}
        for node in self._graph.graph:
            if node.op_type == "QuantizeLinear" and node.inputs[0] is not None:
                for reader, _ in node.outputs[0].uses():
                    made[str(node.inputs[0].name)] = str(reader.outputs[0].name)
        return made

    def _add_outputs(self, taps: Sequence[str]) -> bytes:
        from edgekit.passes.serialize_model import serialize_model

        twin = self._graph.clone()
        values = {value.name: value for node in twin.graph for value in node.outputs}
        present = {value.name for value in twin.graph.outputs}
        names = dict.fromkeys(self._tappable[tap] for tap in taps)
        twin.graph.outputs.extend(values[name] for name in names if name not in present)
        return serialize_model(twin)


def describe_inputs(main: Path) -> list[tuple[str, str, list[int]]]:
    """(name, dtype of numpy, shape) of a context's or an ONNX file's inputs, read without a session."""
    import onnx_ir as ir

    graph = ir.load(main / MODEL if main.is_dir() else main).graph
    return [
        (str(value.name), value.dtype.numpy().name, [int(dim) for dim in value.shape.numpy()])
        for value in graph.inputs
        if value.dtype is not None and value.shape is not None
    ]


def describe_context(folder: Path) -> tuple[list[tuple[str, list[int]]], list[tuple[str, list[int]]]]:
    """(dtype, shape) of each input and of each output, read from the file: no session is opened."""
    import onnx_ir as ir

    graph = ir.load(folder / MODEL).graph
    found = []
    for values in (graph.inputs, graph.outputs):
        rows = []
        for value in values:
            dims = [] if value.shape is None else [int(dim) for dim in value.shape.numpy()]
            rows.append(("unknown" if value.dtype is None else value.dtype.name.lower(), dims))
        found.append(rows)
    return found[0], found[1]


def _run(
    session: Any, feeds: Mapping[str, np.ndarray], inputs: Sequence[str], names: Sequence[str]
) -> dict[str, np.ndarray]:
    absent = [name for name in inputs if name not in feeds]
    if absent:
        raise SamplesError(f"input '{absent[0]}' is not fed", fix=f"feed all of: {', '.join(inputs)}")
    try:
        values = session.run(list(names), {name: np.ascontiguousarray(feeds[name]) for name in inputs})
    except Exception as error:
        raise SamplesError(
            f"the artifact refused the sample: {str(error).splitlines()[0][:300]}",
            fix="give samples of the dtype and shape that the artifact was built for",
        ) from error
    return dict(zip(names, values, strict=True))


def _open_on_cpu(model: bytes | str) -> Any:
    """Node by node as written, on one thread: the same numbers on every run."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    options.log_severity_level = 4
    return ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
