"""Loads one compiled context on the Snapdragon board it lies on, for edgekit's runner.

Needs onnxruntime, onnxruntime-qnn and numpy. Where the processor is no ARM one Qualcomm's library emulates the
HTP: its time would be nobody's, and is refused.
"""

import os
import platform
import tempfile

import onnxruntime as ort
import qnn_profile

PROVIDER = "QNNExecutionProvider"


class Model:
    """One session: a context (a folder) on the HTP, the float baseline (a file) on the CPU."""

    def __init__(self, path, threads):
        self.on_htp = os.path.isdir(path)
        self.path = os.path.join(path, "model.onnx") if self.on_htp else path
        self.threads = threads
        if self.on_htp and platform.machine() not in ("aarch64", "arm64"):
            raise RuntimeError(
                "this %s machine has no Hexagon NPU; Qualcomm's library would emulate it, and that time is no device's"
                % platform.machine()
            )
        self.session = self._open({})
        self.outputs = [value.name for value in self.session.get_outputs()]

    def _open(self, provider):
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self.threads
        if not self.on_htp:
            return ort.InferenceSession(self.path, options, providers=["CPUExecutionProvider"])
        devices, backend = _register()
        options.add_provider_for_devices(
            devices, dict({"backend_path": backend, "htp_performance_mode": "burst"}, **provider)
        )
        return ort.InferenceSession(self.path, options)

    def describe(self):
        if not self.on_htp:
            return "onnxruntime %s, CPUExecutionProvider, %d threads" % (ort.__version__, self.threads)
        import onnxruntime_qnn

        return "onnxruntime-qnn %s, HTP, burst" % onnxruntime_qnn.__version__

    def run(self, feeds):
        """Outputs by name."""
        return dict(zip(self.outputs, self.session.run(self.outputs, feeds)))

    def prepare(self, feeds):
        """What is timed: one run from numpy arrays to numpy arrays."""
        session, outputs = self.session, self.outputs
        return lambda: session.run(outputs, feeds)

    def layers(self, feeds, runs=5):
        """Mean time by node from the QNN profile, written by a session of its own."""
        if not self.on_htp:
            return {"rows": [], "reason": "the CPU baseline of an NPU bundle is timed as a whole"}
        with tempfile.TemporaryDirectory() as folder:
            path = os.path.join(folder, "profile.csv")
            session = self._open({"profiling_level": "detailed", "profiling_file_path": path})
            for _ in range(runs):
                session.run(self.outputs, feeds)
            del session
            if not os.path.isfile(path):
                raise RuntimeError("onnxruntime-qnn wrote no profile: it knows no profiling_file_path")
            with open(path, encoding="utf-8") as file:
                rows = qnn_profile.read_profile(file.read(), runs)
        units = [{"unit": "HTP", "ops": len(rows), "why": qnn_profile.WHY}]
        return {"rows": rows, "placements": units if rows else []}


_registered = []


def _register():
    """The NPU and the path of its library; registered once a process."""
    import onnxruntime_qnn

    if not _registered:
        ort.register_execution_provider_library(PROVIDER, onnxruntime_qnn.get_library_path())
        _registered.append(True)
    devices = [device for device in ort.get_ep_devices() if device.ep_name == PROVIDER]
    if not devices:
        raise RuntimeError("onnxruntime-qnn finds no Qualcomm NPU on this machine")
    return devices, onnxruntime_qnn.get_qnn_htp_path()


def open_model(path, threads):
    """The model of one context or file."""
    return Model(path, threads)
