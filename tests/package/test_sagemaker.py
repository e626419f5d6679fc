from __future__ import annotations

import hashlib
import json
import tarfile
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit.errors import UsageError
from tests.converted import make_bundle, run
from tests.package.platform_environment import run_there
from tests.package.test_triton import parse

if TYPE_CHECKING:
    from pathlib import Path

MINE: dict[str, Any] = {
    "image": "123456789012.dkr.ecr.eu-west-1.amazonaws.com/edge/ort:1",
    "role": "arn:aws:iam::123456789012:role/service-role/sagemaker",
    "model_data": "s3://my-bucket/edge",
    "instance_type": "ml.c5.large",
}


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def read_requests(folder: Path) -> tuple[dict[str, Any], dict[str, Any]]:
    model, config = (
        json.loads((folder / name).read_text())
        for name in ("create-model.json", "create-endpoint-config.json")
    )
    return model, config


@pytest.mark.parametrize("target", ["ort-mobile", "jetson-orin"])
def test_sagemakers_own_toolkit_serves_what_onnxruntime_computes(tmp_path: Path, target: str) -> None:
    bundle = make_bundle(tmp_path, target)
    edgekit.package(bundle, "sagemaker", tmp_path / "sm", **MINE)
    with tarfile.open(tmp_path / "sm" / "model.tar.gz") as archive:
        archive.extractall(tmp_path / "ml" / "model", filter="data")
    environment = read_requests(tmp_path / "sm")[0]["PrimaryContainer"]["Environment"]
    x = np.load(bundle / "golden" / "model" / "000" / "inputs-0.npy")
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "x.npz", x=x)
    (tmp_path / "x.json").write_text(json.dumps({"inputs": {"x": x.tolist()}}))
    (tmp_path / "bad.json").write_text(json.dumps({"inputs": {"z": [1.0]}}))
    requests = [
        ("application/json", "application/json", str(tmp_path / "x.json")),
        ("application/x-npy", "application/x-npy", str(tmp_path / "x.npy")),
        ("application/x-npz", "application/x-npz", str(tmp_path / "x.npz")),
        ("application/json", "application/json", str(tmp_path / "bad.json")),
    ]
    (tmp_path / "requests.json").write_text(json.dumps(requests))
    answers = run_there(
        "sagemaker",
        "serve_sagemaker.py",
        tmp_path / "requests.json",
        variables={**environment, "SAGEMAKER_BASE_DIR": str(tmp_path / "ml")},
    )
    assert [row["status"] for row in answers] == [200, 200, 200, 500]
    assert [row["type"] for row in answers[:3]] == [accept for _, accept, _ in requests[:3]]
    ending = {"ort-mobile": "ort", "jetson-orin": "onnx"}[target]
    session = ort.InferenceSession(str(bundle / f"model.int8.{ending}"), providers=["CPUExecutionProvider"])
    want = np.asarray(session.run(None, {"x": x})[0])
    told = json.loads((tmp_path / "x.json.answer").read_text())["outputs"]["y"]
    assert np.array_equal(np.asarray(told, np.float32), want)
    assert np.array_equal(np.load(tmp_path / "x.npy.answer"), want)
    with np.load(tmp_path / "x.npz.answer") as arrays:
        assert np.array_equal(arrays["y"], want)
    assert "['z']" in (tmp_path / "bad.json.answer").read_text()


def test_boto3_creates_model_and_endpoint_of_every_container_on_motos_server(
    bundle: Path, tmp_path: Path
) -> None:
    folders = [tmp_path / kind for kind in ("single", "multi", "triton")]
    for folder in folders:
        edgekit.package(bundle, "sagemaker", folder, name=f"toy_{folder.name}", container=folder.name, **MINE)
    edgekit.package(bundle, "sagemaker", tmp_path / "bare")
    *made, bare = run_there("sagemaker", "create_sagemaker.py", *folders, tmp_path / "bare")
    assert bare["refused"].startswith("ParamValidationError")
    for word in ("ExecutionRoleArn", "PrimaryContainer.Image", "PrimaryContainer.ModelDataUrl"):
        assert word in bare["refused"]
    for folder, answer in zip(folders, made, strict=True):
        model, config = read_requests(folder)
        container = answer["model"]["PrimaryContainer"]
        assert {name: container[name] for name in model["PrimaryContainer"]} == model["PrimaryContainer"]
        assert answer["model"]["ExecutionRoleArn"] == MINE["role"]
        assert answer["config"]["ProductionVariants"] == config["ProductionVariants"]
        assert answer["config"]["ProductionVariants"][0]["InstanceType"] == MINE["instance_type"]
        assert answer["tags"] == model["Tags"]
        assert answer["state"] == "InService"
    urls = [answer["model"]["PrimaryContainer"]["ModelDataUrl"] for answer in made]
    place = MINE["model_data"]
    assert urls == [f"{place}/model.tar.gz", f"{place}/models/", f"{place}/model.tar.gz"]


def test_the_archives_hold_what_their_container_expects(bundle: Path, tmp_path: Path) -> None:
    for kind in ("single", "multi", "triton"):
        edgekit.package(bundle, "sagemaker", tmp_path / kind, name="toy", container=kind)
    plain = {"code/inference.py", "code/requirements.txt", "edgekit.json"}
    for file, model in (
        ("single/model.tar.gz", "model.int8.ort"),
        ("multi/models/toy-int8.tar.gz", "model.int8.ort"),
        ("multi/models/toy-fp32.tar.gz", "model.fp32.ort"),
    ):
        with tarfile.open(tmp_path / file) as archive:
            assert set(archive.getnames()) == {*plain, model}
            held = archive.extractfile(model)
            assert held is not None
            assert held.read() == (bundle / model).read_bytes()
            assert all((member.mtime, member.uid, member.uname) == (0, 0, "") for member in archive)
    with tarfile.open(tmp_path / "triton" / "model.tar.gz") as archive:
        config = archive.extractfile("toy-int8/config.pbtxt")
        assert config is not None
        assert parse(config.read().decode()).backend == "onnxruntime"
        default = read_requests(tmp_path / "triton")[0]["PrimaryContainer"]["Environment"]
        assert f"{default['SAGEMAKER_TRITON_DEFAULT_MODEL_NAME']}/config.pbtxt" in archive.getnames()


def test_the_same_bundle_gives_the_same_bytes(bundle: Path, tmp_path: Path) -> None:
    digests = set()
    for name in ("one", "two"):
        edgekit.package(bundle, "sagemaker", tmp_path / name)
        digests.add(hashlib.sha256((tmp_path / name / "model.tar.gz").read_bytes()).hexdigest())
    assert len(digests) == 1


def test_what_only_the_user_knows_is_asked_for_and_checked(bundle: Path, tmp_path: Path) -> None:
    done = run("package", bundle, "--as", "sagemaker", "-o", tmp_path / "sm", "--image", MINE["image"])
    assert done.exit_code == 0
    assert "--role, --model-data, --instance-type" in done.stdout
    wrong = {"image": "has space", "role": "admin", "model_data": "/tmp/x", "instance_type": "large"}
    for word, value in wrong.items():
        option = f"--{word.replace('_', '-')}"
        told = run("package", bundle, "--as", "sagemaker", "-o", tmp_path / "other", option, value)
        assert (told.exit_code, option in told.stderr) == (2, True)
    with pytest.raises(UsageError, match="'two' is no container"):
        edgekit.package(bundle, "sagemaker", tmp_path / "other", container="two")
    assert not (tmp_path / "other").exists()
