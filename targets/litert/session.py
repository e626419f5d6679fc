"""Runs the .tflite file itself on this host."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, SamplesError
from edgekit.targets.litert.name_tensors import read_order

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

Kernels = Literal["xnnpack", "builtin", "reference"]


class LiteRTSession:
    """One loaded .tflite file. `kernels` names LiteRT's CPU kernels: what phones use by default, the
    builtin optimized ones, or the plain reference ones.

    Values go in and come out in the source's layout: `layouts` and `tensors` are the artifact's.
    """

    def __init__(
        self,
        path: Path,
        kernels: Kernels = "xnnpack",
        *,
        layouts: Mapping[str, str] | None = None,
        tensors: Mapping[str, str] | None = None,
    ) -> None:
        self._path = path
        self._layouts = layouts or {}
        self._tensors = tensors or {}
        self._interpreter = _open_interpreter(path, kernels)
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
        """All outputs by name, and of the taps those that the file computes, integers restored to float.

        Taps are read from the builtin kernels: XNNPACK keeps its intermediates to itself. SamplesError where
        names, dtypes or shapes do not fit.
        """
        self._invoke(self._interpreter, feeds)
        results = {
            name: self._in_source_layout(name, _read(self._interpreter, item))
            for name, item in self._outputs.items()
        }
        wanted = [tap for tap in taps if tap not in results]
        return results | (self._tap(feeds, wanted) if wanted else {})

    def _invoke(self, interpreter: Any, feeds: Mapping[str, np.ndarray]) -> None:
        for name, item in self._inputs.items():
            if name not in feeds:
                raise SamplesError(
                    f"input '{name}' is not fed", fix=f"feed all of: {', '.join(self._inputs)}"
                )
            value = np.asarray(feeds[name])
            if self._layouts.get(name) == "NHWC" and value.ndim == 4:
                value = np.ascontiguousarray(value.transpose(0, 2, 3, 1))
            if value.dtype != item["dtype"] or value.shape != tuple(item["shape"]):
                raise SamplesError(
                    f"input '{name}' is {value.dtype}{list(value.shape)}, the file takes "
                    f"{np.dtype(item['dtype']).name}{[int(size) for size in item['shape']]}",
                    fix="give samples of the dtype and shape that the artifact was built for",
                )
            interpreter.set_tensor(item["index"], value)
        try:
            interpreter.invoke()
        except (ValueError, RuntimeError) as error:
            raise SamplesError(
                f"LiteRT refused the sample: {str(error)[:300]}", fix="give samples in the model's range"
            ) from error

    def _in_source_layout(self, name: str, value: np.ndarray) -> np.ndarray:
        return value.transpose(0, 3, 1, 2) if self._layouts.get(name) == "NHWC" else value

    def _tap(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str]) -> dict[str, np.ndarray]:
        self._invoke(self._tapped, feeds)
        known = {item["name"]: item for item in self._tapped.get_tensor_details()}
        found: dict[str, np.ndarray] = {}
        for tap in taps:
            own = self._tensors.get(tap, tap)
            order = read_order(own) if tap in self._tensors else None
            if own in known:
                value = _restored(known[own], _read(self._tapped, known[own]))
                found[tap] = value if order is None else value.transpose(order)
        return found

    @cached_property
    def _tapped(self) -> Any:
        """A second interpreter, which keeps every tensor it computes."""
        return _open_interpreter(self._path, "builtin", experimental_preserve_all_tensors=True)


def _open_interpreter(path: Path, kernels: Kernels, **options: Any) -> Any:
    """LiteRT's interpreter of a file that it maps (so that one beyond 2 GB is not read at once)."""
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
        interpreter = litert.Interpreter(
            model_path=str(path), num_threads=1, experimental_op_resolver_type=resolver, **options
        )
        interpreter.allocate_tensors()
    except (ValueError, RuntimeError) as error:
        raise BundleError(
            f"LiteRT cannot load {path.name}: {str(error)[:300]}",
            fix="build it again, or use the ai-edge-litert named in the manifest or a newer one",
        ) from error
    return interpreter


def _read(interpreter: Any, item: Mapping[str, Any]) -> np.ndarray:
    """One tensor; LiteRT's Python binding refuses to read those without elements."""
    if 0 in item["shape"]:
        return np.empty(item["shape"], item["dtype"])
    result: np.ndarray = interpreter.get_tensor(item["index"])
    return result


def _restored(item: Mapping[str, Any], value: np.ndarray) -> np.ndarray:
    """(code - zero point) * scale of an int8 or int16 activation; other values as they are."""
    parameters = item["quantization_parameters"]
    if value.dtype not in (np.int8, np.int16) or len(parameters["scales"]) != 1:
        return value
    codes = value.astype(np.int32) - int(parameters["zero_points"][0])
    return codes.astype(np.float32) * np.float32(parameters["scales"][0])
