"""On a Mac, a saved .mlpackage runs in Core ML itself; anywhere else in edgekit's MIL interpreter.

UNTESTED ON A MAC: what chooses between the two, and what is told of failures, is tested with stand-ins.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from edgekit.errors import BundleError, CannotRunHere, UsageError
from edgekit.targets.coreml.interpret import MilSession

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

UNITS_VARIABLE = "EDGEKIT_COREML_UNITS"
# MLComputeUnits -> coremltools' ComputeUnit; the first is the default.
UNITS = {
    "all": "ALL",
    "cpuOnly": "CPU_ONLY",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuAndNeuralEngine": "CPU_AND_NE",
}
MAC_PROVES = (
    "Core ML of this Mac compiled the saved .mlpackage and ran it, with the compute units that "
    f"{UNITS_VARIABLE} names (all by default). An iPhone or iPad has not seen it; latency is not shown"
)


class Program(Protocol):
    """What runs a package: feeds and outputs by Core ML's names."""

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        taps: Sequence[str] = (),
        *,
        state: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Outputs by name, and those taps that it can give; `state` is read, and holds what is left then."""
        ...

    def new_state(self) -> dict[str, np.ndarray]:
        """What every state holds before the first run, by name."""
        ...


def runs_core_ml(platform: str = sys.platform) -> bool:
    """Whether this host has Core ML itself."""
    return platform == "darwin"


def open_program(package: Path, platform: str = sys.platform) -> Program:
    """Core ML on a Mac, the interpreter elsewhere; their errors are BundleError and CannotRunHere."""
    return MacProgram(package, chosen_units()) if runs_core_ml(platform) else MilSession(package)


def words_of_proof(elsewhere: str, platform: str = sys.platform) -> str:
    """What a run here shows: `elsewhere` (the interpreter's words) unless it is Core ML's."""
    return MAC_PROVES if runs_core_ml(platform) else elsewhere


def chosen_units() -> str:
    """The compute units that the user's environment names, `all` without; UsageError for unknown ones."""
    units = os.environ.get(UNITS_VARIABLE, next(iter(UNITS)))
    if units not in UNITS:
        raise UsageError(
            f"{UNITS_VARIABLE}={units!r} names no compute units", fix=f"use one of: {', '.join(UNITS)}"
        )
    return units


class MacProgram:
    """One package compiled and loaded by Core ML through coremltools. It gives no intermediates."""

    def __init__(self, package: Path, units: str) -> None:
        self._name = package.name
        try:
            coremltools: Any = import_module("coremltools")
        except ImportError as error:
            raise CannotRunHere(
                "coremltools is not installed", fix='pip install "coremltools>=9.0"'
            ) from error
        try:
            setting = getattr(coremltools.ComputeUnit, UNITS[units])
            self._model = coremltools.models.MLModel(str(package), compute_units=setting)
        except Exception as error:
            raise self._refused("load", error) from error

    def run(
        self,
        feeds: Mapping[str, np.ndarray],
        taps: Sequence[str] = (),
        *,
        state: dict[str, np.ndarray] | None = None,
    ) -> dict[str, np.ndarray]:
        """Outputs by Core ML's names; taps are left out. BundleError where Core ML refuses to run."""
        del taps
        try:
            made = self._predict_with(state, feeds) if state else self._model.predict(dict(feeds))
        except Exception as error:
            raise self._refused("run", error) from error
        return {name: np.asarray(value) for name, value in made.items()}

    def new_state(self) -> dict[str, np.ndarray]:
        """Zeros, as Core ML's own fresh state has; the shapes are those of the package."""
        return {
            item.name: np.zeros(tuple(item.type.stateType.arrayType.shape), np.float16)
            for item in self._model.get_spec().description.state
        }

    def _predict_with(self, state: dict[str, np.ndarray], feeds: Mapping[str, np.ndarray]) -> dict[str, Any]:
        held = self._model.make_state()
        for name, value in state.items():
            held.write_state(name, value)
        made: dict[str, Any] = self._model.predict(dict(feeds), state=held)
        state.update({name: np.asarray(held.read_state(name)) for name in state})
        return made

    def _refused(self, what: str, error: Exception) -> BundleError:
        said = " ".join(str(error).split())[:300] or type(error).__name__
        return BundleError(
            f"Core ML cannot {what} {self._name}: {said}",
            fix=f"try other compute units ({UNITS_VARIABLE}=cpuOnly), or a newer macOS",
        )
