"""model.tar.gz for SageMaker's containers, and the requests that create a model and an endpoint of it.

Source: docs.aws.amazon.com, SageMaker API (CreateModel, CreateEndpointConfig), multi-model endpoints and
Triton; github.com/aws/sagemaker-inference-toolkit (the four functions of the inference code).
"""

from __future__ import annotations

import json
import re
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._package.describe_model import describe_lineage, describe_model, file_tensors, find_component
from edgekit._package.triton import write_triton
from edgekit._package.write_tar import write_tar
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._package.job import PackageJob
    from edgekit._values import Artifact

    Container = dict[str, object]

_CODE = "inference.py"
_ARCHIVE = "model.tar.gz"
_MANY = "models"
# The names of SageMaker's own inference toolkit, which the framework containers are made with.
_ENVIRONMENT = {"SAGEMAKER_PROGRAM": _CODE, "SAGEMAKER_SUBMIT_DIRECTORY": "/opt/ml/model/code"}
# Patterns of the API reference; botocore itself checks none of them.
_PATTERNS = {
    "image": (re.compile(r"\S{1,255}"), "ACCOUNT.dkr.ecr.REGION.amazonaws.com/NAME:TAG"),
    "role": (re.compile(r"arn:aws[a-z-]*:iam::\d{12}:role/?[\w+=,.@/-]+"), "arn:aws:iam::ACCOUNT:role/NAME"),
    "model_data": (re.compile(r"s3://[a-z0-9][a-z0-9.-]{2,62}(/\S*)?"), "s3://BUCKET/PREFIX"),
    "instance_type": (re.compile(r"ml\.[a-z0-9-]+\.[a-z0-9]+"), "ml.FAMILY.SIZE"),
}


def write_sagemaker(job: PackageJob, out: Path) -> list[str]:
    """`out` gets the archives and `create-model.json` and `create-endpoint-config.json`.

    What only the user knows (image, role, bucket, instance type) is null where it is not given: boto3 and
    the AWS command line refuse a request with null in it. UsageError for values that the API would refuse.
    """
    for word, (pattern, form) in _PATTERNS.items():
        given = job.words.get(word)
        if given is not None and not pattern.fullmatch(str(given)):
            raise UsageError(f"--{word.replace('_', '-')} '{str(given)[:80]}'", fix=f"write it as {form}")
    kind = job.words.get("container", "single")
    if kind not in _CONTAINERS:
        raise UsageError(f"'{kind}' is no container", fix=f"known: {', '.join(_CONTAINERS)}")
    container, notes = _CONTAINERS[kind](job, out)
    _write_requests(job, container, out)
    missing = [word for word in _PATTERNS if job.words.get(word) is None]
    if missing:
        words = ", ".join(f"--{word.replace('_', '-')}" for word in missing)
        notes.append(f"null in the requests, which AWS refuses, until you package with {words}")
    return notes


def _write_single(job: PackageJob, out: Path) -> tuple[Container, list[str]]:
    (artifact,) = job.artifacts
    write_tar(out / _ARCHIVE, _members(job, artifact))
    return _container(job, _ARCHIVE, _ENVIRONMENT), [f"{artifact.variant}; upload {_ARCHIVE} to the bucket"]


def _write_multi(job: PackageJob, out: Path) -> tuple[Container, list[str]]:
    """An archive an artifact: a request names the one it is for."""
    (out / _MANY).mkdir()
    single = len({artifact.component for artifact in job.artifacts}) == 1
    names = []
    for artifact in job.artifacts:
        parts = (job.name, artifact.variant) if single else (job.name, artifact.component, artifact.variant)
        names.append(f"{'-'.join(parts)}.tar.gz")
        write_tar(out / _MANY / names[-1], _members(job, artifact))
    container = _container(job, f"{_MANY}/", _ENVIRONMENT) | {"Mode": "MultiModel"}
    return container, [f"upload {_MANY}/ to the bucket; TargetModel is one of: {', '.join(names)}"]


def _write_triton(job: PackageJob, out: Path) -> tuple[Container, list[str]]:
    """A model repository of Triton in the archive; no code, for Triton's own backends run the files."""
    repository = out / "repository"
    repository.mkdir()
    write_triton(job, repository)
    models = sorted(folder.name for folder in repository.iterdir() if (folder / "config.pbtxt").exists())
    files = [file for name in models for file in (repository / name).rglob("*") if file.is_file()]
    write_tar(out / _ARCHIVE, {file.relative_to(repository).as_posix(): file for file in files})
    shutil.rmtree(repository)
    # Of several components the ensemble bears the name that a single one would have.
    variant = job.artifacts[0].variant
    first = f"{job.name}-{variant}"
    default = first if first in models else models[0]
    container = _container(job, _ARCHIVE, {"SAGEMAKER_TRITON_DEFAULT_MODEL_NAME": default})
    return container, [f"models {', '.join(models)}; upload {_ARCHIVE} to the bucket"]


_CONTAINERS = {"single": _write_single, "multi": _write_multi, "triton": _write_triton}


def _members(job: PackageJob, artifact: Artifact) -> dict[str, Path | bytes]:
    """What lies in /opt/ml/model: the artifact's files, what is known of it, and the code that runs it."""
    component = find_component(job, artifact)
    described = {
        **describe_model(job, artifact),
        "file": artifact.main,
        "inputs": file_tensors(artifact, component["inputs"]),
        "outputs": file_tensors(artifact, component["outputs"]),
    }
    needs = f"numpy\nonnxruntime=={job.bundle.manifest['tools']['onnxruntime']}\n"
    return {
        **{file: job.bundle.folder / file for file in artifact.loaded},
        "edgekit.json": (json.dumps(described, indent=1, sort_keys=True) + "\n").encode(),
        f"code/{_CODE}": Path(__file__).parent / "templates" / _CODE,
        "code/requirements.txt": needs.encode(),
    }


def _write_requests(job: PackageJob, container: Container, out: Path) -> None:
    """The two requests as boto3 and `aws ... --cli-input-json` take them."""
    name = re.sub(r"[^A-Za-z0-9-]", "-", job.name).strip("-")
    lineage = describe_lineage(job, job.artifacts[0])
    # Several models in one container: what is true of the first one only is left out.
    of_one = () if len(job.artifacts) == 1 else ("component", "variant", "scheme", "calibration_digest")
    tags = [
        {"Key": f"edgekit.{key}", "Value": re.sub(r"[^\w .:/=+@-]", "_", text)[:256]}
        for key, text in lineage.items()
        if key not in of_one
    ]
    variant = {
        "VariantName": "AllTraffic",
        "ModelName": name,
        "InitialInstanceCount": 1,
        "InstanceType": job.words.get("instance_type"),
    }
    requests = {
        "create-model.json": {
            "ModelName": name,
            "ExecutionRoleArn": job.words.get("role"),
            "PrimaryContainer": dict(container),
            "Tags": tags,
        },
        "create-endpoint-config.json": {
            "EndpointConfigName": name,
            "ProductionVariants": [variant],
            "Tags": tags,
        },
    }
    for file, request in requests.items():
        (out / file).write_text(json.dumps(request, indent=2) + "\n", encoding="utf-8")


def _container(job: PackageJob, name: str, environment: Mapping[str, str]) -> Container:
    """The container's part of create-model; `name` is what lies in the bucket."""
    prefix = job.words.get("model_data")
    return {
        "Image": job.words.get("image"),
        "Mode": "SingleModel",
        "ModelDataUrl": None if prefix is None else f"{prefix.rstrip('/')}/{name}",
        "Environment": dict(environment),
    }
