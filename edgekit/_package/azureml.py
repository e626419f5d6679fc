"""An MLflow model beside the YAML with which Azure Machine Learning registers and deploys it.

Source: learn.microsoft.com, CLI (v2) YAML schemas of model, managed online endpoint and deployment.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgekit._package.describe_model import describe_lineage
from edgekit._package.mlflow_model import write_mlflow
from edgekit._package.text_yaml import render_yaml
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._package.job import PackageJob

_SCHEMA = "https://azuremlschemas.azureedge.net/latest/{}.schema.json"
# Azure knows no such size, so that a deployment without the user's own choice is refused, not billed.
_NO_SIZE = "SET_INSTANCE_TYPE"
_ENDPOINT = re.compile(r"[A-Za-z](?:[A-Za-z0-9-]{1,30})[A-Za-z0-9]")
_MODEL = "model"


def write_azureml(job: PackageJob, out: Path) -> list[str]:
    """`out` gets `model/` (MLflow's folder), `model.yml`, `endpoint.yml` and `deployment.yml`.

    UsageError for a name that no endpoint may have; TargetError as for MLflow.
    """
    (artifact,) = job.artifacts
    endpoint = re.sub(r"[._]", "-", job.name)
    if not _ENDPOINT.fullmatch(endpoint):
        raise UsageError(
            f"'{job.name}' cannot name an endpoint of Azure",
            fix="give --name with 3 to 32 letters, digits and '-', a letter first",
        )
    (out / _MODEL).mkdir()
    notes = write_mlflow(job, out / _MODEL)
    tags = describe_lineage(job, artifact)
    size = job.words.get("instance_type")
    files: dict[str, dict[str, object]] = {
        "model.yml": {
            "$schema": _SCHEMA.format("model"),
            "name": job.name,
            "type": "mlflow_model",
            "path": _MODEL,
            "description": f"{artifact.variant} of bundle {job.bundle.digest[:12]}, for {job.bundle.target}",
            "tags": tags,
        },
        "endpoint.yml": {
            "$schema": _SCHEMA.format("managedOnlineEndpoint"),
            "name": endpoint,
            "auth_mode": "key",
            "tags": tags,
        },
        "deployment.yml": {
            "$schema": _SCHEMA.format("managedOnlineDeployment"),
            "name": f"edgekit-{artifact.variant}",
            "endpoint_name": endpoint,
            "model": f"azureml:{job.name}@latest",
            "instance_type": size or _NO_SIZE,
            "instance_count": 1,
            "tags": tags,
        },
    }
    for name, content in files.items():
        (out / name).write_text(render_yaml(content), encoding="utf-8")
    if size is None:
        notes.append(f"deployment.yml has {_NO_SIZE}, which Azure refuses; package with --instance-type SIZE")
    return notes
