"""MLflow's python_function over one file that ONNX Runtime loads; written by edgekit.

Needs onnxruntime and numpy. `predict` takes a mapping of input name to array, one array where the model has
one input, or a table with a column an input; it gives a dict of output name to array.
"""

import numpy as np
import onnxruntime as ort


class OrtModel:
    """One loaded session on the CPU provider."""

    def __init__(self, path):
        self._session = ort.InferenceSession(path, providers=["CPUExecutionProvider"])
        self._inputs = [(item.name, _dtype(item.type)) for item in self._session.get_inputs()]
        self._outputs = [item.name for item in self._session.get_outputs()]

    def predict(self, model_input, params=None):
        """All outputs by name; ValueError where an input is missing or unknown."""
        feeds = self._feeds(model_input)
        return dict(zip(self._outputs, self._session.run(self._outputs, feeds)))

    def _feeds(self, given):
        if isinstance(given, np.ndarray) or (not hasattr(given, "keys") and np.ndim(given)):
            if len(self._inputs) != 1:
                names = ", ".join(name for name, _ in self._inputs)
                raise ValueError("the model has several inputs; give a mapping with: " + names)
            given = {self._inputs[0][0]: given}
        names = [name for name, _ in self._inputs]
        unknown = [str(name) for name in given.keys() if name not in names]
        missing = [name for name in names if name not in given.keys()]
        if unknown or missing:
            raise ValueError("inputs are %s; unknown: %s; missing: %s" % (names, unknown, missing))
        return {name: np.asarray(_values(given[name]), dtype) for name, dtype in self._inputs}


def _values(column):
    """The arrays of a table's column as one."""
    values = column.to_numpy() if hasattr(column, "to_numpy") else column
    if getattr(values, "dtype", None) == object:
        return np.stack([np.asarray(item) for item in values])
    return values


def _dtype(name):
    """`tensor(float)` and its like as a numpy dtype."""
    short = name[len("tensor(") : -1]
    return np.dtype({"float": "float32", "double": "float64"}.get(short, short))


def _load_pyfunc(path):
    """What MLflow calls with the path of the file."""
    return OrtModel(path)
