"""Run where mlflow is: `read_mlflow.py MODEL GOLDEN.npy OUT.npz` loads, saves again and predicts."""
# pyright: reportMissingImports=false
# The environment that runs this has mlflow; edgekit's own has not.

from __future__ import annotations

import json
import sys
from pathlib import Path

import mlflow
import numpy as np
from mlflow.models import validate_serving_input
from mlflow.models.utils import load_serving_example


def main(model: str, golden: str, out: str) -> None:
    loaded = mlflow.pyfunc.load_model(model)
    x = np.load(golden)
    outputs = {"named": loaded.predict({"x": x})["y"]}
    outputs["served"] = validate_serving_input(model, load_serving_example(model))["y"]
    flavors = list(loaded.metadata.flavors)
    if "onnx" in flavors:
        again = str(Path(out).with_suffix(".again"))
        proto = mlflow.onnx.load_model(model)
        mlflow.onnx.save_model(proto, again, signature=loaded.metadata.signature, pip_requirements=["onnx"])
        outputs["again"] = mlflow.pyfunc.load_model(again).predict({"x": x})["y"]
    np.savez(out, **outputs)
    try:
        loaded.predict({"x": x.astype("int64"), "z": x})
        refused = ""
    except Exception as error:  # noqa: BLE001 - whatever mlflow raises is the answer
        refused = str(error)
    print(
        json.dumps(
            {
                "flavors": flavors,
                "inputs": json.loads(loaded.metadata.signature.to_dict()["inputs"]),
                "outputs": json.loads(loaded.metadata.signature.to_dict()["outputs"]),
                "example_equal": bool(np.array_equal(loaded.input_example["x"], x)),
                "example_dtype": str(loaded.input_example["x"].dtype),
                "metadata": loaded.metadata.metadata,
                "refused": refused,
            }
        )
    )


main(*sys.argv[1:])
