"""Runs the artifact itself on this host, with the settings that give an ARM CPU's numbers."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import BundleError, SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np


class OrtSession:
    """One loaded .ort file, or .onnx of a large model; its graph is final, so only outputs can be tapped.

    inner: the file that gives inner values as outputs, where there is one; it is loaded for the first tap.
    """

    def __init__(self, path: Path, inner: Path | None = None) -> None:
        import onnxruntime as ort

        options = ort.SessionOptions()
        options.log_severity_level = 4
        # One thread: sums are added in one order, so a run says the same on any host.
        options.intra_op_num_threads = 1
        # Nothing is optimized for this host any more: what runs is what the file holds.
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        if path.suffix == ".ort":
            options.add_session_config_entry("session.load_model_format", "ORT")
        try:
            self._session = ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as error:
            raise BundleError(
                f"onnxruntime {ort.__version__} cannot load {path.name}: {str(error)[:300]}",
                fix="build it again, or use the onnxruntime version named in the manifest or a newer one",
            ) from error
        self._inner_path = inner
        self._inner: OrtSession | None = None
        self.inputs = [value.name for value in self._session.get_inputs()]
        self.outputs = [value.name for value in self._session.get_outputs()]

    def describe_inputs(self) -> list[tuple[str, str, list[int | str | None]]]:
        """(name, onnxruntime's type, shape) of each input."""
        return [(value.name, value.type, value.shape) for value in self._session.get_inputs()]

    def describe_outputs(self) -> list[tuple[str, str, list[int | str | None]]]:
        """(name, onnxruntime's type, shape) of each output."""
        return [(value.name, value.type, value.shape) for value in self._session.get_outputs()]

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by name, and those `taps` that the file of inner values gives; others do not exist.

        Raises SamplesError where names, dtypes or shapes do not fit the file.
        """
        missing = [name for name in self.inputs if name not in feeds]
        if missing:
            raise SamplesError(
                f"input '{missing[0]}' is not fed", fix=f"feed all of: {', '.join(self.inputs)}"
            )
        try:
            results: Any = self._session.run(self.outputs, {name: feeds[name] for name in self.inputs})
        except Exception as error:
            raise SamplesError(
                f"onnxruntime refused the sample: {str(error)[:300]}",
                fix="give samples of the dtype and shape that `edgekit inspect` shows",
            ) from error
        return self._tap(feeds, taps) | dict(zip(self.outputs, results, strict=True))

    def _tap(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str]) -> dict[str, np.ndarray]:
        if not taps or self._inner_path is None:
            return {}
        if self._inner is None:
            self._inner = OrtSession(self._inner_path)
        if not set(taps) & set(self._inner.outputs) - set(self.outputs):
            return {}
        return {name: value for name, value in self._inner.run(feeds).items() if name in taps}
