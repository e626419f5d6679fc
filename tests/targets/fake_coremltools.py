"""A stand-in for coremltools on a Mac: every model computes y = 2x; FAKE_FAIL names what must fail.

A test copies it to `coremltools.py`; it makes its own submodules.
"""

from __future__ import annotations

import enum
import os
import sys
import types
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

__version__ = "9.0"


class ComputeUnit(enum.Enum):
    ALL = 1
    CPU_AND_GPU = 2
    CPU_ONLY = 3
    CPU_AND_NE = 4


def fail(what: str) -> None:
    if os.environ.get("FAKE_FAIL") == what:
        raise Exception(f"Error in Core ML\nat {what}")


def compile_model(package: str, destination: str) -> str:
    assert destination.endswith(".mlmodelc")
    assert (Path(package) / "Manifest.json").is_file()
    fail("compile")
    Path(destination).mkdir()
    return destination


class CompiledMLModel:
    def __init__(self, path: str, compute_units: ComputeUnit) -> None:
        assert Path(path).is_dir()
        fail(f"load {compute_units.name}")

    def predict(self, feeds: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        fail("predict")
        (x,) = feeds.values()
        assert x.dtype == np.float32
        return {os.environ.get("FAKE_OUTPUT", "y"): x * np.float32(2)}


class MLModel(CompiledMLModel):
    pass


class MLCPUComputeDevice: ...


class MLGPUComputeDevice: ...


class MLNeuralEngineComputeDevice: ...


def operation(name: str, device: type | None, cost: float | None, blocks: tuple[Any, ...] = ()) -> Any:
    usage = None if device is None else SimpleNamespace(preferred_compute_device=device())
    price = None if cost is None else SimpleNamespace(weight=cost)
    return SimpleNamespace(operator_name=name, blocks=list(blocks), usage=usage, price=price)


class MLComputePlan:
    """Four operations: a constant, one on each device, the GPU's inside a block."""

    def __init__(self) -> None:
        inner = SimpleNamespace(operations=[operation("relu", MLGPUComputeDevice, 0.25)])
        outer = [
            operation("const", None, None),
            operation("conv", MLNeuralEngineComputeDevice, 0.5),
            operation("cond", MLCPUComputeDevice, 0.25, (inner,)),
        ]
        main = SimpleNamespace(block=SimpleNamespace(operations=outer))
        self.model_structure = SimpleNamespace(program=SimpleNamespace(functions={"main": main}))

    @staticmethod
    def load_from_path(path: str, compute_units: ComputeUnit) -> MLComputePlan:
        fail(f"plan {compute_units.name}")
        return MLComputePlan()

    def get_compute_device_usage_for_mlprogram_operation(self, one: Any) -> Any:
        return one.usage

    def get_estimated_cost_for_mlprogram_operation(self, one: Any) -> Any:
        return one.price


def module(name: str, **members: Any) -> Any:
    """A submodule, put where `import` finds it."""
    made: Any = types.ModuleType(f"coremltools.{name}")
    vars(made).update(members, __path__=[])
    sys.modules[f"coremltools.{name}"] = made
    return made


__path__: list[str] = []
models = module(
    "models",
    utils=SimpleNamespace(compile_model=compile_model),
    CompiledMLModel=CompiledMLModel,
    MLModel=MLModel,
    compute_plan=module("models.compute_plan", MLComputePlan=MLComputePlan),
)
