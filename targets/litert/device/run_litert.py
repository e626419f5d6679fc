"""Loads one .tflite file on the device it lies on, for edgekit's runner. Needs ai-edge-litert and numpy."""

from importlib import metadata

from ai_edge_litert.interpreter import Interpreter


class Model:
    """One interpreter on the CPU with XNNPACK, as an app opens it."""

    def __init__(self, path, threads):
        self.threads = threads
        self.interpreter = Interpreter(model_path=path, num_threads=threads)
        self.interpreter.allocate_tensors()
        self.inputs = {item["name"]: item["index"] for item in self.interpreter.get_input_details()}
        self.outputs = {item["name"]: item["index"] for item in self.interpreter.get_output_details()}

    def describe(self):
        return "LiteRT %s, CPU with XNNPACK, %d threads" % (metadata.version("ai-edge-litert"), self.threads)

    def run(self, feeds):
        """Outputs by name."""
        self.prepare(feeds)()
        return {name: self.interpreter.get_tensor(index) for name, index in self.outputs.items()}

    def prepare(self, feeds):
        """What is timed: one invoke; the inputs are set before it, and LiteRT keeps them."""
        for name, index in self.inputs.items():
            self.interpreter.set_tensor(index, feeds[name])
        return self.interpreter.invoke

    def layers(self, feeds):
        return {"reason": "LiteRT's Python interpreter gives no times by operator; benchmark_model does"}


def open_model(path, threads):
    """The model of one file."""
    return Model(path, threads)
