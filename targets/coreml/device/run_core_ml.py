"""Loads one .mlpackage in Core ML on the Mac it lies on, for edgekit's runner. Needs coremltools and numpy.

NOT RUN on a Mac by those who wrote it. EDGEKIT_COREML_UNITS names the compute units (all by default).
"""

import json
import os
import sys

import numpy as np

import plan

IO_KEY = "edgekit.io"
UNITS = {"cpuOnly": "CPU_ONLY", "cpuAndGPU": "CPU_AND_GPU", "cpuAndNeuralEngine": "CPU_AND_NE", "all": "ALL"}


SHOWN = {"cpu": "CPU", "gpu": "GPU", "neural-engine": "Neural Engine"}


class Model:
    """One package, compiled and loaded by Core ML; inputs and outputs under the ONNX model's names.

    A state begins as what its input is fed with, and what it holds afterwards is its output.
    """

    def __init__(self, path, setting):
        import coremltools

        units = coremltools.ComputeUnit[UNITS[setting]]
        self.setting, self.version = setting, coremltools.__version__
        self.model = coremltools.models.MLModel(path, compute_units=units)
        self.units = units
        self.io = json.loads(self.model.user_defined_metadata[IO_KEY])
        self.states = self.io.get("states", [])

    def describe(self):
        return f"Core ML, coremltools {self.version}, compute units {self.setting}"

    def placements(self):
        """On which units Core ML means to run how many operations: a plan, not what ran."""
        try:
            from coremltools.models.compute_plan import MLComputePlan

            path = self.model.get_compiled_model_path()
            counted = plan.count_operations(MLComputePlan.load_from_path(path, compute_units=self.units))
        except Exception as error:  # a plan is extra; coremltools raises bare exceptions
            return [{"unit": "unknown", "ops": None, "why": f"no compute plan ({error})"[:400]}]
        return [
            {
                "unit": SHOWN[unit],
                "ops": row["ops"],
                "why": f"Core ML's plan, {row['cost']:.0%} of its cost: {common(row['names'])}",
            }
            for unit, row in sorted(counted.items())
            if unit != plan.UNKNOWN
        ]

    def run(self, feeds):
        """Outputs by source name, in the source's dtypes and ranks."""
        held = self._begin(feeds)
        made = self._predict(self._as_fed(feeds), held)
        found = {row["name"]: _as_source(row, np.asarray(made[row["coreml"]])) for row in self.io["outputs"]}
        for row in filter(lambda row: row["output"], self.states):
            found[row["output"]] = _as_source(row, np.asarray(held.read_state(row["coreml"])))
        return found

    def prepare(self, feeds):
        """What is timed: one predict, from numpy arrays to numpy arrays; states go on from run to run."""
        given, held = self._as_fed(feeds), self._begin(feeds)
        return lambda: self._predict(given, held)

    def layers(self, feeds):
        return {"reason": "Core ML gives no times by operation; its plan estimates shares (mac/measure.py plan)"}

    def _predict(self, given, held):
        return self.model.predict(given) if held is None else self.model.predict(given, held)

    def _begin(self, feeds):
        """The state of one request; None where the package has none."""
        if not self.states:
            return None
        held = self.model.make_state()
        for row in self.states:
            held.write_state(row["coreml"], np.asarray(feeds[row["name"]]).astype(np.float16))
        return held

    def _as_fed(self, feeds):
        return {row["coreml"]: _border(np.asarray(feeds[row["name"]])) for row in self.io["inputs"]}


def common(names):
    """The operators met most, as `4 conv, 2 relu`."""
    most = sorted(names.items(), key=lambda entry: (-entry[1], entry[0]))[:5]
    return ", ".join(f"{count} {name}" for name, count in most)


ACCELERATORS = tuple(UNITS)


def open_model(path, threads, accelerator=""):
    """The model of one package; `threads` is Core ML's own choice, `accelerator` one of its compute units."""
    if sys.platform != "darwin":
        raise RuntimeError("Core ML runs on a Mac only; profile this bundle there")
    setting = accelerator or os.environ.get("EDGEKIT_COREML_UNITS", "all")
    if setting not in UNITS:
        raise RuntimeError(f"EDGEKIT_COREML_UNITS={setting!r} is none of {', '.join(UNITS)}")
    return Model(path, setting)


def _border(value):
    """Core ML has no int64 and no rank 0."""
    if value.dtype.kind in "iub":
        limits = np.iinfo(np.int32)
        if value.size and (value.min() < limits.min or value.max() > limits.max):
            raise ValueError("an input leaves Core ML's 32-bit integers")
        value = value.astype(np.int32)
    else:
        value = value.astype(np.float32)
    return value if value.ndim else value.reshape(1)


def _as_source(row, value):
    made = value.astype(row["dtype"])
    return made if row["rank"] else made.reshape(())
