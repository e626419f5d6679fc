"""Run where mlflow is: `push_there.py JOB.json` pushes bundles and reads what the server then has.

JOB: `pushes`, pairs of bundle and destination; `server` and `read`, the registered models to read; `golden`,
the inputs that each version of them is run on, its outputs going to `out`/NAME-VERSION.npy.
"""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
from mlflow import MlflowClient

import edgekit
from edgekit.errors import EdgekitError


def push(bundle: str, place: str) -> dict[str, Any]:
    try:
        done = edgekit.push(bundle, place)
    except EdgekitError as error:
        return {"error": error.problem, "fix": error.fix}
    return {"place": done.place, "digest": done.digest, "sent": done.sent, "kept": done.kept}


def read(client: MlflowClient, name: str, job: dict[str, Any]) -> list[dict[str, Any]]:
    found = []
    for version in sorted(client.search_model_versions(f"name='{name}'"), key=lambda one: int(one.version)):
        run = client.get_run(version.run_id)
        loaded = mlflow.pyfunc.load_model(f"models:/{name}/{version.version}")
        outputs = loaded.predict({"x": np.load(job["golden"])})
        np.save(Path(job["out"]) / f"{name}-{version.version}.npy", outputs["y"])
        files = [item.path for item in client.list_artifacts(run.info.run_id, "edgekit")]
        report = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/{run.data.tags['edgekit.report']}")
        found.append(
            {
                "version_tags": version.tags,
                "tags": run.data.tags,
                "metrics": run.data.metrics,
                "status": run.info.status,
                "files": files,
                "report": json.loads(report),
            }
        )
    return found


def main(file: str) -> None:
    job = json.loads(Path(file).read_text())
    done = [push(*words) for words in job["pushes"]]
    mlflow.set_tracking_uri(job["server"])
    client = MlflowClient()
    print(
        json.dumps(
            {
                "pushes": done,
                "read": {name: read(client, name, job) for name in job["read"]},
                "models": [model.name for model in client.search_registered_models()],
                "runs": [len(client.search_runs([one.experiment_id])) for one in client.search_experiments()],
            }
        )
    )


main(sys.argv[1])
