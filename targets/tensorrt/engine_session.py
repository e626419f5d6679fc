"""Runs an ONNX file as a TensorRT engine on this host's GPU.

Written from TensorRT's public API and never run by edgekit's own tests, which have no full TensorRT:
treat its first run on a host as a trial.
"""

from __future__ import annotations

import ctypes
from importlib import import_module
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.errors import CannotRunHere, SamplesError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

_TO_DEVICE, _TO_HOST = 1, 2  # cudaMemcpyKind
_CUDA_RUNTIMES = ("libcudart.so.13", "libcudart.so.12", "libcudart.so.11.0", "libcudart.so")


class EngineSession:
    """An engine built here from the exact file, for the shapes that its first run is fed with."""

    def __init__(self, path: Path) -> None:
        self._trt: Any = import_module("tensorrt")
        self._path = path
        self._logger = self._trt.Logger(self._trt.Logger.ERROR)
        self._cuda = _cuda_runtime()
        self._engine: Any = None
        self._ranges: dict[str, tuple[int, ...]] = {}

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by name; an engine fuses its intermediates away, so taps are not given."""
        del taps
        shapes = {name: np.asarray(array).shape for name, array in feeds.items()}
        if self._engine is None or shapes != self._ranges:
            self._engine, self._ranges = self._build(shapes), shapes
        context = self._engine.create_execution_context()
        buffers = _Buffers(self._cuda)
        try:
            return self._execute(context, buffers, feeds)
        finally:
            buffers.free()

    def _build(self, shapes: Mapping[str, tuple[int, ...]]) -> Any:
        """Parse the file and build its engine: FP16 and INT8 allowed up to TensorRT 10, typed from 11 on."""
        trt = self._trt
        major = int(trt.__version__.split(".")[0])
        builder = trt.Builder(self._logger)
        variant = self._path.name.split(".")[-2]
        typed = major == 10 and variant in ("w8", "w4")  # by the file's types, as 11 does always
        flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED) if typed else int(major < 10)
        network = builder.create_network(flags)
        parser = trt.OnnxParser(network, self._logger)
        if not parser.parse_from_file(str(self._path)):
            raise CannotRunHere(
                f"TensorRT does not parse {self._path.name}: {parser.get_error(0).desc()}",
                fix="see `edgekit check` for the nodes it refuses",
            )
        config = builder.create_builder_config()
        if major < 11:
            for flag in {"int8": ("INT8", "FP16"), "fp16": ("FP16",)}.get(variant, ()):
                config.set_flag(getattr(trt.BuilderFlag, flag))
        profile = builder.create_optimization_profile()
        for index in range(network.num_inputs):
            tensor = network.get_input(index)
            if tensor.name not in shapes:
                raise SamplesError(f"the sample has no input '{tensor.name}'", fix="give every input")
            if -1 in tuple(tensor.shape):
                profile.set_shape(tensor.name, *(shapes[tensor.name],) * 3)
        config.add_optimization_profile(profile)
        plan = builder.build_serialized_network(network, config)
        if plan is None:
            raise CannotRunHere(
                f"TensorRT builds no engine of {self._path.name}", fix="see its messages above"
            )
        engine = trt.Runtime(self._logger).deserialize_cuda_engine(plan)
        if engine is None:  # seen where the GPU's compute capability is none that this TensorRT runs on
            raise CannotRunHere(
                f"this GPU does not run the engine that TensorRT built of {self._path.name}",
                fix="see its messages above for the compute capabilities it supports",
            )
        return engine

    def _execute(
        self, context: Any, buffers: _Buffers, feeds: Mapping[str, np.ndarray]
    ) -> dict[str, np.ndarray]:
        trt, outputs = self._trt, {}
        names = [self._engine.get_tensor_name(index) for index in range(self._engine.num_io_tensors)]
        for name in names:
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT:
                wanted = trt.nptype(self._engine.get_tensor_dtype(name))
                array = np.ascontiguousarray(feeds[name], dtype=wanted)
                context.set_input_shape(name, array.shape)
                context.set_tensor_address(name, buffers.upload(array))
        for name in names:
            if self._engine.get_tensor_mode(name) == trt.TensorIOMode.OUTPUT:
                dtype = trt.nptype(self._engine.get_tensor_dtype(name))
                outputs[name] = np.empty(tuple(context.get_tensor_shape(name)), dtype)
                context.set_tensor_address(name, buffers.allocate(outputs[name].nbytes))
        if not context.execute_async_v3(0) or self._cuda.cudaDeviceSynchronize() != 0:
            raise CannotRunHere(
                f"the engine of {self._path.name} does not run", fix="see TensorRT's messages"
            )
        for name, array in outputs.items():
            buffers.download(context.get_tensor_address(name), array)
        return outputs


class _Buffers:
    """Device memory of one run."""

    def __init__(self, cuda: Any) -> None:
        self._cuda = cuda
        self._held: list[int] = []

    def allocate(self, size: int) -> int:
        pointer = ctypes.c_void_p()
        if (
            self._cuda.cudaMalloc(ctypes.byref(pointer), ctypes.c_size_t(max(size, 1))) != 0
            or not pointer.value
        ):
            raise CannotRunHere(f"the GPU has no {size} bytes free", fix="close other programs")
        self._held.append(pointer.value)
        return pointer.value

    def upload(self, array: np.ndarray) -> int:
        address = self.allocate(array.nbytes)
        self._copy(address, array.ctypes.data, array.nbytes, _TO_DEVICE)
        return address

    def download(self, address: int, array: np.ndarray) -> None:
        self._copy(array.ctypes.data, address, array.nbytes, _TO_HOST)

    def free(self) -> None:
        for address in self._held:
            self._cuda.cudaFree(ctypes.c_void_p(address))
        self._held.clear()

    def _copy(self, to: int, source: int, size: int, kind: int) -> None:
        arguments = (ctypes.c_void_p(to), ctypes.c_void_p(source), ctypes.c_size_t(size), kind)
        if self._cuda.cudaMemcpy(*arguments) != 0:
            raise CannotRunHere("copying to or from the GPU failed", fix="check the driver")


def _cuda_runtime() -> Any:
    for name in _CUDA_RUNTIMES:
        try:
            return ctypes.CDLL(name)
        except OSError:
            continue
    raise CannotRunHere("the CUDA runtime library is missing", fix="install CUDA's libcudart")
