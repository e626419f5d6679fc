"""Runs the IR itself on this host's CPU, in float32 where it is not integer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

# One thread: sums are added in one order. f32: no bfloat16 or float16 kernels, which some hosts would choose.
_SETTINGS = {"INFERENCE_NUM_THREADS": 1, "NUM_STREAMS": 1, "INFERENCE_PRECISION_HINT": "f32"}


class OpenVinoSession:
    """One compiled IR; the plugin fuses operators, so only outputs can be tapped."""

    def __init__(self, path: Path) -> None:
        try:
            import openvino as ov
        except ImportError as error:
            raise CannotRunHere("openvino is not installed", fix='pip install "openvino>=2026.1"') from error
        try:
            self._model = ov.Core().compile_model(str(path), "CPU", _SETTINGS)
        except Exception as error:
            raise BundleError(
                f"OpenVINO {ov.get_version()} cannot load {path.name}: {str(error)[:300]}",
                fix="build it again, or use the openvino named in the manifest or a newer one",
            ) from error
        self._request: Any = self._model.create_infer_request()
        self.inputs = {str(port.get_node().get_friendly_name()): port for port in self._model.inputs}
        self.outputs = {_output(port): port for port in self._model.outputs}

    def describe_inputs(self) -> list[tuple[str, str, list[int | str]]]:
        """(name, numpy dtype, shape) of each input; open sizes as OpenVINO writes them."""
        return [(name, _dtype(port), _shape(port)) for name, port in self.inputs.items()]

    def kernels(self) -> list[tuple[str, str]]:
        """(operator, precision) of each layer that this CPU computes."""
        return [
            (str(info["layerType"].astype(str)), str(info["runtimePrecision"].astype(str)))
            for info in (node.get_rt_info() for node in self._model.get_runtime_model().get_ordered_ops())
        ]

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """All outputs by name. Raises SamplesError where names, dtypes or shapes do not fit the file."""
        del taps
        for name, port in self.inputs.items():
            if name not in feeds:
                raise SamplesError(f"input '{name}' is not fed", fix=f"feed all of: {', '.join(self.inputs)}")
            value = np.asarray(feeds[name])
            if value.dtype != np.dtype(_dtype(port)) or not _fits(value.shape, port):
                raise SamplesError(
                    f"input '{name}' is {value.dtype}{list(value.shape)}, the file takes "
                    f"{_dtype(port)}{_shape(port)}",
                    fix="give samples of the dtype and shape that the artifact was built for",
                )
        try:
            found = self._request.infer({port: feeds[name] for name, port in self.inputs.items()})
        except Exception as error:
            raise SamplesError(
                f"OpenVINO refused the sample: {str(error)[:300]}", fix="give samples in the model's range"
            ) from error
        return {name: np.array(found[port]) for name, port in self.outputs.items()}


def _output(port: Any) -> str:
    """Several ONNX values may be one tensor: the result's own name tells which output this is."""
    return str(port.get_node().get_friendly_name()).removesuffix("/result")


def _dtype(port: Any) -> str:
    return str(np.dtype(port.get_element_type().to_dtype()).name)


def _shape(port: Any) -> list[int | str]:
    return [dim.get_length() if dim.is_static else str(dim) for dim in port.get_partial_shape()]


def _fits(shape: tuple[int, ...], port: Any) -> bool:
    dims = list(port.get_partial_shape())
    return len(shape) == len(dims) and all(
        dim.is_dynamic or dim.get_length() == size for size, dim in zip(shape, dims, strict=True)
    )
