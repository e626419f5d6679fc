"""What a SageMaker container calls: model_fn, input_fn, predict_fn and output_fn; written by edgekit.

Needs onnxruntime and numpy. Requests: application/json `{"inputs": {NAME: nested lists}}`, application/x-npy
for a model with one input, application/x-npz (arrays by input name). Answers: application/json
`{"outputs": {NAME: nested lists}}`, application/x-npz, or application/x-npy for a model with one output.
"""

import io
import json
import os

import numpy as np
import onnxruntime as ort

JSON, NPY, NPZ = "application/json", "application/x-npy", "application/x-npz"
_SHORT = {"float": "float32", "double": "float64"}


def model_fn(model_dir):
    """The session over the file that edgekit.json names."""
    with open(os.path.join(model_dir, "edgekit.json"), encoding="utf-8") as file:
        main = json.load(file)["file"]
    return ort.InferenceSession(os.path.join(model_dir, main), providers=["CPUExecutionProvider"])


def input_fn(body, content_type):
    """The arrays of a request by name; one array without a name stands under ""."""
    kind = _kind(content_type)
    if kind == JSON:
        given = json.loads(body)
        if not isinstance(given, dict) or not isinstance(given.get("inputs"), dict):
            raise ValueError('a JSON request is {"inputs": {NAME: nested lists}}')
        return given["inputs"]
    if kind == NPY:
        return {"": np.load(io.BytesIO(body), allow_pickle=False)}
    if kind == NPZ:
        with np.load(io.BytesIO(body), allow_pickle=False) as arrays:
            return dict(arrays)
    raise ValueError("content type %r is none of %s, %s and %s" % (content_type, JSON, NPY, NPZ))


def predict_fn(data, model):
    """All outputs by name; ValueError where an input is missing or unknown."""
    dtypes = {item.name: item.type[len("tensor(") : -1] for item in model.get_inputs()}
    if list(data) == [""] and len(dtypes) == 1:
        data = {next(iter(dtypes)): data[""]}
    if set(data) != set(dtypes):
        raise ValueError("the model's inputs are %s, the request's %s" % (sorted(dtypes), sorted(data)))
    feeds = {name: np.asarray(data[name], _SHORT.get(dtype, dtype)) for name, dtype in dtypes.items()}
    names = [item.name for item in model.get_outputs()]
    return dict(zip(names, model.run(names, feeds)))


def output_fn(prediction, accept):
    """The outputs as the caller asked for them."""
    kind = _kind(accept) if accept and accept != "*/*" else JSON
    if kind == JSON:
        return json.dumps({"outputs": {name: values.tolist() for name, values in prediction.items()}})
    file = io.BytesIO()
    if kind == NPZ:
        np.savez(file, **prediction)
    elif kind == NPY and len(prediction) == 1:
        np.save(file, next(iter(prediction.values())), allow_pickle=False)
    else:
        raise ValueError("%r is none of %s and %s, and %s is for one output" % (accept, JSON, NPZ, NPY))
    return file.getvalue()


def _kind(content_type):
    return (content_type or "").partition(";")[0].strip().lower()
