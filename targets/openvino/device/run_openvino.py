"""Loads one OpenVINO IR on the device it lies on, for edgekit's runner. Needs openvino and numpy."""

import numpy as np
import openvino as ov


class Model:
    """One compiled model on the CPU, as an app opens it for latency."""

    def __init__(self, path, threads):
        self.threads = threads
        self.path = path
        self.request = self._compile({}).create_infer_request()
        compiled = self.request.get_compiled_model()
        self.names = [sorted(port.get_names()) for port in compiled.inputs]
        self.outputs = [port.get_node().get_friendly_name() for port in compiled.outputs]
        self.device = compiled.get_property("EXECUTION_DEVICES")

    def _compile(self, more):
        settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": self.threads}
        settings.update(more)
        return ov.Core().compile_model(self.path, "CPU", settings)

    def describe(self):
        return "OpenVINO %s, %s, %d threads" % (ov.get_version(), ",".join(self.device), self.threads)

    def _feed(self, request, feeds):
        for place, names in enumerate(self.names):
            request.set_input_tensor(place, ov.Tensor(np.ascontiguousarray(feeds[names[0]])))

    def run(self, feeds):
        """Outputs by name."""
        self.prepare(feeds)()
        names = [name[: -len("/result")] if name.endswith("/result") else name for name in self.outputs]
        return {name: self.request.get_output_tensor(place).data.copy() for place, name in enumerate(names)}

    def prepare(self, feeds):
        """What is timed: one inference on inputs that are set before it."""
        self._feed(self.request, feeds)
        return self.request.infer

    def layers(self, feeds, runs=5):
        """Mean time by layer, in a compiled model of its own so that the timing above is not disturbed."""
        request = self._compile({"PERF_COUNT": "YES"}).create_infer_request()
        self._feed(request, feeds)
        total = {}
        for _ in range(runs):
            request.infer()
            for row in request.profiling_info:
                if row.status.name == "EXECUTED":
                    key = (row.node_name, row.node_type)
                    total[key] = total.get(key, 0) + row.real_time.total_seconds() * 1e6
        return {"rows": [{"name": name, "op": op, "us": total[name, op] / runs} for name, op in total]}


def open_model(path, threads):
    """The model of one file."""
    return Model(path, threads)
