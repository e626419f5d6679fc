"""Run where azure-ai-ml is: `read_azureml.py FOLDER` loads the three YAML files with Azure's own loaders."""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path

from azure.ai.ml import load_model, load_online_deployment, load_online_endpoint


def main(folder: str) -> None:
    model = load_model(Path(folder, "model.yml"))
    endpoint = load_online_endpoint(Path(folder, "endpoint.yml"))
    deployment = load_online_deployment(Path(folder, "deployment.yml"))
    print(
        json.dumps(
            {
                "model": [type(model).__name__, model.name, model.type, str(model.path), model.tags],
                "endpoint": [type(endpoint).__name__, endpoint.name, endpoint.auth_mode],
                "deployment": [
                    type(deployment).__name__,
                    deployment.name,
                    deployment.endpoint_name,
                    str(deployment.model),
                    deployment.instance_type,
                    deployment.instance_count,
                ],
            }
        )
    )


main(sys.argv[1])
