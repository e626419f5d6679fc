"""An MLflow model folder, written without MLflow: flavors, signature, example, environment, metadata.

Source: mlflow.org/docs, "MLflow Models" (storage format), and mlflow 3.17's own loaders.
"""

from __future__ import annotations

import hashlib
import json
import shutil
import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._package.choose_artifacts import runtime_of
from edgekit._package.copy_artifact import copy_artifact
from edgekit._package.describe_model import (
    describe_model,
    file_tensors,
    find_component,
    first_feeds,
    tell_private,
)
from edgekit._package.text_yaml import render_yaml

if TYPE_CHECKING:
    from edgekit._package.job import PackageJob
    from edgekit._values import Artifact

_EXAMPLE = "input_example.json"
_SERVING = "serving_input_example.json"
# An example is text: a larger one takes longer to write than the model, and nobody reads it.
_MOST_VALUES = 400_000
_LOADER = "edgekit_ort_model"
_CODE = "code"


def write_mlflow(job: PackageJob, out: Path) -> list[str]:
    """`out` becomes a model that `mlflow.pyfunc.load_model` opens, an ONNX file also `mlflow.onnx`.

    TargetError for an element type that numpy has not. The same bundle and profile give the same bytes.
    """
    (artifact,) = job.artifacts
    copy_artifact(job.bundle, artifact, out)
    notes = [f"{artifact.variant}; open it with mlflow.pyfunc.load_model(DIR)"]
    described: dict[str, object] = {
        "flavors": _write_flavors(job, artifact, out),
        "metadata": {"edgekit": describe_model(job, artifact)},
        "model_uuid": _identify(job, artifact),
        "signature": _signature(job, artifact),
    }
    if _write_example(job, artifact, out):
        described["saved_input_example_info"] = {
            "artifact_path": _EXAMPLE,
            "serving_input_path": _SERVING,
            "type": "ndarray",
        }
        notes += tell_private(job, artifact, _EXAMPLE)
    else:
        notes.append(f"no {_EXAMPLE}: the golden inputs have more than {_MOST_VALUES} values")
    _write_environment(job, artifact, out)
    (out / "MLmodel").write_text(render_yaml(described), encoding="utf-8")
    return notes


def _write_flavors(job: PackageJob, artifact: Artifact, out: Path) -> dict[str, object]:
    settings = _settings()
    function: dict[str, object] = {
        "data": artifact.main,
        "env": {"conda": "conda.yaml", "virtualenv": "python_env.yaml"},
        "python_version": settings["python"],
    }
    if runtime_of("mlflow", artifact) == "onnx":
        flavor = {
            "data": artifact.main,
            "onnx_version": _tool(job, "onnx"),
            "providers": ["CPUExecutionProvider"],
            "onnx_session_options": None,
            "code": None,
        }
        return {"onnx": flavor, "python_function": {"loader_module": "mlflow.onnx", **function}}
    (out / _CODE).mkdir()
    shutil.copyfile(Path(__file__).parent / "templates" / f"{_LOADER}.py", out / _CODE / f"{_LOADER}.py")
    return {"python_function": {"loader_module": _LOADER, "code": _CODE, **function}}


def _signature(job: PackageJob, artifact: Artifact) -> dict[str, str]:
    component = find_component(job, artifact)
    return {
        side: json.dumps(
            [
                {
                    "name": row["name"],
                    "type": "tensor",
                    "tensor-spec": {"dtype": row["dtype"], "shape": row["shape"]},
                }
                for row in file_tensors(artifact, component[side])
            ]
        )
        for side in ("inputs", "outputs")
    }


def _write_example(job: PackageJob, artifact: Artifact, out: Path) -> bool:
    """The first golden inputs for readers and as the body of a request; False where they are too many."""
    feeds = first_feeds(job.bundle, artifact)
    if sum(values.size for values in feeds.values()) > _MOST_VALUES:
        return False
    text = json.dumps({name: values.tolist() for name, values in feeds.items()})
    (out / _EXAMPLE).write_text(text, encoding="utf-8")
    (out / _SERVING).write_text(f'{{"inputs": {text}}}', encoding="utf-8")
    return True


def _write_environment(job: PackageJob, artifact: Artifact, out: Path) -> None:
    """The same packages in the three forms that MLflow's servers and Azure read."""
    settings = _settings()
    packages = [settings["mlflow"], "numpy", f"onnxruntime=={_tool(job, 'onnxruntime')}"]
    if runtime_of("mlflow", artifact) == "onnx":
        packages.insert(2, f"onnx=={_tool(job, 'onnx')}")
    conda = {
        "channels": ["conda-forge"],
        "dependencies": [f"python={settings['python']}", "pip", {"pip": packages}],
        "name": "mlflow-env",
    }
    (out / "requirements.txt").write_text("\n".join(packages) + "\n", encoding="utf-8")
    (out / "conda.yaml").write_text(render_yaml(conda), encoding="utf-8")
    environment = {"python": settings["python"], "dependencies": ["-r requirements.txt"]}
    (out / "python_env.yaml").write_text(render_yaml(environment), encoding="utf-8")


def _tool(job: PackageJob, name: str) -> str:
    """The version that proved the artifact."""
    return str(job.bundle.manifest["tools"][name])


def _identify(job: PackageJob, artifact: Artifact) -> str:
    """MLflow takes a random id; this one follows from the content."""
    text = f"{job.bundle.digest}/{artifact.component}/{artifact.variant}"
    return hashlib.sha256(text.encode()).hexdigest()[:32]


@cache
def _settings() -> dict[str, Any]:
    text = Path(__file__).with_name("platforms.toml").read_text(encoding="utf-8")
    found: dict[str, Any] = tomllib.loads(text)["mlflow"]
    return found
