from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit.errors import UsageError
from tests.converted import make_bundle, read_tree, run
from tests.package.platform_environment import run_there

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def test_azures_own_loaders_take_model_endpoint_and_deployment(bundle: Path, tmp_path: Path) -> None:
    edgekit.package(bundle, "azureml", tmp_path / "az", name="ocr.toy", instance_type="Standard_F4s_v2")
    read: Any = run_there("azureml", "read_azureml.py", tmp_path / "az")
    kind, name, form, path, tags = read["model"]
    assert (kind, name, form) == ("Model", "ocr.toy", "mlflow_model")
    assert path == str(tmp_path / "az" / "model")
    manifest = json.loads((bundle / "manifest.json").read_text())
    assert tags["source_sha256"] == manifest["components"][0]["source_sha256"]
    assert read["endpoint"] == ["ManagedOnlineEndpoint", "ocr-toy", "key"]
    assert read["deployment"] == [
        "ManagedOnlineDeployment",
        "edgekit-int8",
        "ocr-toy",
        "ocr.toy@latest",
        "Standard_F4s_v2",
        1,
    ]


def test_the_model_is_mlflows_folder_byte_for_byte(bundle: Path, tmp_path: Path) -> None:
    edgekit.package(bundle, "azureml", tmp_path / "az", name="ocr")
    edgekit.package(bundle, "mlflow", tmp_path / "ml")
    assert read_tree(tmp_path / "az" / "model") == read_tree(tmp_path / "ml")


def test_a_size_that_nobody_named_is_not_invented_and_names_azure_refuses_are_refused(
    bundle: Path, tmp_path: Path
) -> None:
    done = run("package", bundle, "--as", "azureml", "-o", tmp_path / "az")
    assert "--instance-type" in done.stdout
    assert "instance_type: SET_INSTANCE_TYPE" in (tmp_path / "az" / "deployment.yml").read_text()
    for name in ("ab", "1abc", "a" * 33, "a-"):
        with pytest.raises(UsageError, match="endpoint of Azure"):
            edgekit.package(bundle, "azureml", tmp_path / "other", name=name)
    with pytest.raises(UsageError, match="azureml takes no --image"):
        edgekit.package(bundle, "azureml", tmp_path / "other", image="x")
    assert not (tmp_path / "other").exists()
