"""Loads one .ort file on the device it lies on, for edgekit's runner. Needs onnxruntime and numpy."""

import json
import os
import statistics
import tempfile

import onnxruntime as ort


class Model:
    """One session on the CPU provider, as an app opens it."""

    def __init__(self, path, threads):
        self.path, self.threads = path, threads
        self.session = ort.InferenceSession(path, self._options(), providers=["CPUExecutionProvider"])
        self.outputs = [value.name for value in self.session.get_outputs()]

    def _options(self):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self.threads
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL  # the file is final
        options.add_session_config_entry("session.load_model_format", "ORT")
        return options

    def describe(self):
        return "onnxruntime %s, %s, %d threads" % (ort.__version__, self.session.get_providers()[0], self.threads)

    def run(self, feeds):
        """Outputs by name."""
        return dict(zip(self.outputs, self.session.run(self.outputs, feeds)))

    def prepare(self, feeds):
        """What is timed: one run from numpy arrays to numpy arrays."""
        session, outputs = self.session, self.outputs
        return lambda: session.run(outputs, feeds)

    def layers(self, feeds, runs=10):
        """Median time by node, profiled in a session of its own so that the timing above is not disturbed."""
        options = self._options()
        with tempfile.TemporaryDirectory() as folder:
            options.enable_profiling = True
            options.profile_file_prefix = os.path.join(folder, "profile")
            session = ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
            for _ in range(runs):
                session.run(self.outputs, feeds)
            with open(session.end_profiling(), encoding="utf-8") as file:
                events = json.load(file)
        return read_profile(events, runs)


def read_profile(events, runs):
    """Rows and placements of so many runs; a node in a loop's body runs several times in each.

    onnxruntime counts a body's time in its Loop's or If's as well.
    """
    times, where = {}, {}
    for event in events:
        if event.get("cat") == "Node" and event["name"].endswith("_kernel_time"):
            key = (event["name"][: -len("_kernel_time")], event["args"].get("op_name", ""))
            times.setdefault(key, []).append(event["dur"])
            where.setdefault(event["args"].get("provider", "unknown"), set()).add(key)
    rows = [
        {"name": name, "op": op, "us": statistics.median(found) * len(found) / runs}
        for (name, op), found in times.items()
    ]
    units = [
        {"unit": provider.replace("ExecutionProvider", ""), "ops": len(nodes), "why": "as the session's profile says"}
        for provider, nodes in sorted(where.items())
    ]
    return {"rows": rows, "placements": units}


def open_model(path, threads):
    """The model of one file."""
    return Model(path, threads)
