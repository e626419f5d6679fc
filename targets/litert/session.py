"""Runs the .tflite file itself on this host."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Kernels = Literal["xnnpack", "builtin", "reference"]


class LiteRTSession:
    """One loaded .tflite file. `kernels` names LiteRT's CPU kernels: what phones use by default, the
    builtin optimized ones, or the plain reference ones. None of LiteRT's intermediates can be tapped."""

    def __init__(self, path: Path, kernels: Kernels = "xnnpack") -> None:
        try:
            from ai_edge_litert import interpreter as litert
        except ImportError as error:
            raise CannotRunHere(
                "ai-edge-litert is not installed", fix='pip install "ai-edge-litert>=2.3"'
            ) from error
        resolvers = litert.OpResolverType
        resolver = {
            "xnnpack": resolvers.AUTO,
            "builtin": resolvers.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
            "reference": resolvers.BUILTIN_REF,
        }[kernels]
        try:
            self._interpreter: Any = litert.Interpreter(
                model_content=path.read_bytes(), num_threads=1, experimental_op_resolver_type=resolver
            )
            self._interpreter.allocate_tensors()
        except (ValueError, RuntimeError) as error:
            raise BundleError(
                f"LiteRT cannot load {path.name}: {str(error)[:300]}",
                fix="build it again, or use the ai-edge-litert named in the manifest or a newer one",
            ) from error
        self._inputs = {item["name"]: item for item in self._interpreter.get_input_details()}
        self._outputs = {item["name"]: item for item in self._interpreter.get_output_details()}

    def describe_inputs(self) -> list[tuple[str, str, list[int]]]:
        """(name, numpy dtype, shape) of each input."""
        return [
            (name, np.dtype(item["dtype"]).name, [int(size) for size in item["shape"]])
            for name, item in self._inputs.items()
        ]

    def describe_outputs(self) -> list[tuple[str, str, list[int]]]:
        """(name, numpy dtype, shape) of each output."""
        return [
            (name, np.dtype(item["dtype"]).name, [int(size) for size in item["shape"]])
            for name, item in self._outputs.items()
        ]

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by name; taps are left out. SamplesError where names, dtypes or shapes do not fit."""
        del taps
        for name, item in self._inputs.items():
            if name not in feeds:
                raise SamplesError(
                    f"input '{name}' is not fed", fix=f"feed all of: {', '.join(self._inputs)}"
                )
            value = np.asarray(feeds[name])
            if value.dtype != item["dtype"] or value.shape != tuple(item["shape"]):
                raise SamplesError(
                    f"input '{name}' is {value.dtype}{list(value.shape)}, the file takes "
                    f"{np.dtype(item['dtype']).name}{[int(size) for size in item['shape']]}",
                    fix="give samples of the dtype and shape that the artifact was built for",
                )
            self._interpreter.set_tensor(item["index"], value)
        try:
            self._interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise SamplesError(
                f"LiteRT refused the sample: {str(error)[:300]}", fix="give samples in the model's range"
            ) from error
        return {name: self._read(item) for name, item in self._outputs.items()}

    def _read(self, item: Mapping[str, Any]) -> np.ndarray:
        """One output; LiteRT's Python binding refuses to read those without elements."""
        if 0 in item["shape"]:
            return np.empty(item["shape"], item["dtype"])
        result: np.ndarray = self._interpreter.get_tensor(item["index"])
        return result
