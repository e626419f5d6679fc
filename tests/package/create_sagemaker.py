"""Run where moto is: `create_sagemaker.py FOLDER...` sends packages' requests to moto by HTTP."""
# pyright: reportMissingImports=false

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import boto3
from botocore.exceptions import BotoCoreError, ClientError
from moto.server import ThreadedMotoServer

_GONE = ("CreationTime", "ResponseMetadata", "ModelArn", "EndpointConfigArn", "DeploymentRecommendation")


def send(client: Any, folder: str) -> dict[str, Any]:
    model, config = (
        json.loads(Path(folder, name).read_text())
        for name in ("create-model.json", "create-endpoint-config.json")
    )
    try:
        client.create_model(**model)
        client.create_endpoint_config(**config)
        client.create_endpoint(
            EndpointName=model["ModelName"], EndpointConfigName=config["EndpointConfigName"]
        )
    except (BotoCoreError, ClientError) as error:
        return {"refused": f"{type(error).__name__}: {error}"}
    made = client.describe_model(ModelName=model["ModelName"])
    kept = client.describe_endpoint_config(EndpointConfigName=config["EndpointConfigName"])
    tags = client.list_tags(ResourceArn=made["ModelArn"])["Tags"]
    state = client.describe_endpoint(EndpointName=model["ModelName"])["EndpointStatus"]
    told = {"model": made, "config": kept}
    plain = {name: {k: v for k, v in row.items() if k not in _GONE} for name, row in told.items()}
    return {**plain, "tags": tags, "state": state}


def main(*folders: str) -> None:
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    client = boto3.client(
        "sagemaker",
        endpoint_url=f"http://{host}:{port}",
        region_name="eu-west-1",
        aws_access_key_id="none",
        aws_secret_access_key="none",
    )
    print(json.dumps([send(client, folder) for folder in folders], default=str))
    server.stop()


main(*sys.argv[1:])
