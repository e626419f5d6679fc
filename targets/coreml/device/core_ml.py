"""Core ML through coremltools: compile once, load for each compute-unit setting, run, plan."""

import os
import platform
import sys
import tempfile

from failure import Failure, printable
from timing import time_once

# As MLComputeUnits calls them -> coremltools' ComputeUnit.
SETTINGS = {
    "cpuOnly": "CPU_ONLY",
    "cpuAndGPU": "CPU_AND_GPU",
    "cpuAndNeuralEngine": "CPU_AND_NE",
    "all": "ALL",
}
OTHER = "try another --units"
INSTALL = 'install it with: python3 -m pip install "coremltools>=9.0"'


def why_not():
    """Why nothing can be measured here, as a Failure; None where it can."""
    if sys.platform != "darwin":
        return Failure(f"this is {platform.system() or sys.platform}, and Core ML runs on a Mac only", "run it on a Mac")
    try:
        import coremltools  # noqa: F401
    except ImportError as error:
        return Failure(f"coremltools cannot be imported ({printable(str(error))})", INSTALL)
    return None


class CompiledModel:
    """One package, compiled into a folder of its own that goes with this object."""

    def __init__(self, package):
        import coremltools

        self._folder = tempfile.TemporaryDirectory(prefix="edgekit-")
        self.path = os.path.join(self._folder.name, "model.mlmodelc")
        try:
            self.compile_ms = time_once(lambda: coremltools.models.utils.compile_model(package, self.path))
        except Exception as error:  # coremltools raises bare exceptions
            raise Failure(f"Core ML does not compile {package}: {printable(str(error))}", "see `xcrun coremlcompiler`")

    def load(self, setting):
        """(the LoadedModel, ms that loading took)."""
        import coremltools

        units, loaded = coremltools.ComputeUnit[SETTINGS[setting]], []
        try:
            ms = time_once(lambda: loaded.append(coremltools.models.CompiledMLModel(self.path, units)))
        except Exception as error:
            raise Failure(f"Core ML does not load the model for {setting}: {printable(str(error))}", OTHER)

        return LoadedModel(loaded[0], setting), ms

    def plan(self, setting):
        """coremltools' MLComputePlan for this setting."""
        import coremltools
        from coremltools.models.compute_plan import MLComputePlan

        try:
            return MLComputePlan.load_from_path(self.path, compute_units=coremltools.ComputeUnit[SETTINGS[setting]])
        except Exception as error:
            raise Failure(f"no compute plan for {setting}: {printable(str(error))}", "use macOS 14.4 or later")

    def close(self):
        self._folder.cleanup()


class LoadedModel:
    """One model for one compute-unit setting; `states` are {name: array}, what each state begins as."""

    def __init__(self, model, setting):
        self._model = model
        self._setting = setting

    def __call__(self, feeds, states=None):
        """Outputs by name, and what each state holds after the run."""
        held = self._begin(states)
        made = self._predict(feeds, held)
        return {**made, **{name: held.read_state(name) for name in states or ()}}

    def prepare(self, feeds, states=None):
        """What is timed: one run. States go on from run to run, as in an app."""
        held = self._begin(states)
        return lambda: self._predict(feeds, held)

    def _begin(self, states):
        return self._guard(lambda: self._written(states)) if states else None

    def _written(self, states):
        held = self._model.make_state()
        for name, value in states.items():
            held.write_state(name, value)
        return held

    def _predict(self, feeds, held):
        if held is None:
            return self._guard(lambda: self._model.predict(feeds))
        return self._guard(lambda: self._model.predict(feeds, held))

    def _guard(self, work):
        try:
            return work()
        except Exception as error:  # coremltools raises bare exceptions
            raise Failure(f"Core ML does not run the model on {self._setting}: {printable(str(error))}", OTHER)
