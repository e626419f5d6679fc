"""The MIL interpreter before packages that are damaged, contradict themselves or reach out of a folder."""

from __future__ import annotations

import json
import os
import shutil
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit.errors import BundleError, CannotRunHere
from edgekit.targets.coreml.interpret import MilSession
from edgekit.targets.coreml.interpret.package import import_proto
from tests.models import package_model

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Edit = Callable[[Any], object]

X = np.zeros((1, 43844, 1), np.float32)
MODEL, WEIGHTS = "Data/com.apple.CoreML/model.mlmodel", "Data/com.apple.CoreML/weights/weight.bin"


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """A copy of basic-pitch's own .mlpackage."""
    folder = tmp_path / "m.mlpackage"
    shutil.copytree(package_model("basic-pitch").parent / "nmp.mlpackage", folder)
    return folder


def edit(package: Path, change: Edit) -> None:
    Model_pb2, _ = import_proto()  # noqa: N806 - a module
    model = Model_pb2.Model()
    model.ParseFromString((package / MODEL).read_bytes())
    change(model)
    (package / MODEL).write_bytes(model.SerializeToString())


def relu(model: Any) -> Any:
    return next(item for item in operations(model) if item.type == "relu")


def blob(model: Any) -> Any:
    """The first constant that lies in the weight file."""
    constants = (item.attributes["val"] for item in operations(model) if item.type == "const")
    return next(item for item in constants if item.WhichOneof("value") == "blobFileValue")


def operations(model: Any) -> Any:
    function = model.mlProgram.functions["main"]
    return function.block_specializations[function.opset].operations


def resize(message: Any, size: int) -> None:
    message.type.tensorType.dimensions[0].constant.size = size


def place(model: Any, **fields: Any) -> None:
    for name, value in fields.items():
        setattr(blob(model).blobFileValue, name, value)


def add_input(model: Any) -> None:
    operation = relu(model)
    operation.inputs["slope"].arguments.add().name = operation.inputs["x"].arguments[0].name


EDITS: dict[str, tuple[Edit, type[Exception], str]] = {
    "an unknown operation": (lambda m: setattr(relu(m), "type", "warp"), CannotRunHere, "formula here: warp"),
    "an unknown input": (add_input, CannotRunHere, "'slope' has no meaning"),
    "a result of another shape": (lambda m: resize(relu(m).outputs[0], 7), BundleError, "is declared"),
    "a huge result": (lambda m: resize(relu(m).outputs[0], 2**40), CannotRunHere, "more than 1073741824"),
    "a huge constant": (lambda m: resize(blob(m), 2**40), BundleError, "has 1236 bytes"),
    "one result too many": (lambda m: relu(m).outputs.add(), BundleError, "cannot be computed"),
    "a value that nobody makes": (
        lambda m: setattr(relu(m).inputs["x"].arguments[0], "name", "nobody"),
        BundleError,
        "'nobody'",
    ),
    "an offset behind the end": (lambda m: place(m, offset=2**62), BundleError, "no entry at offset"),
    "an offset between entries": (lambda m: place(m, offset=128), BundleError, "no entry at offset"),
    "weights beside the package": (
        lambda m: place(m, fileName="@model_path/../../../secret"),
        BundleError,
        "may leave the package",
    ),
    "weights of the system": (lambda m: place(m, fileName="/etc/passwd"), BundleError, "may leave"),
    "an unknown rank": (
        lambda m: setattr(relu(m).outputs[0].type.tensorType, "rank", -1),
        BundleError,
        "rank -1",
    ),
    "another kind of model": (lambda m: m.neuralNetwork.SetInParent(), CannotRunHere, "neuralNetwork"),
}


@pytest.mark.parametrize("name", EDITS)
def test_a_changed_specification_is_refused_by_what_is_wrong(name: str, package: Path) -> None:
    change, error, words = EDITS[name]
    edit(package, change)
    with pytest.raises(error, match=words):
        MilSession(package).run({"input_2": X})


@pytest.mark.parametrize("path", ["../../secret", "/etc/passwd", "", "a\\b", "./m", 7])
def test_a_manifest_reaches_no_file_outside_the_package(path: object, package: Path) -> None:
    manifest = {"itemInfoEntries": {"a": {"path": path}}, "rootModelIdentifier": "a"}
    (package / "Manifest.json").write_text(json.dumps(manifest), "utf-8")
    with pytest.raises(BundleError):
        MilSession(package)


@pytest.mark.parametrize("data", [b"[]", b"[" * 100_000, b"\xff\xfe", b"{}", b" " * (2 << 20)])
def test_a_manifest_that_is_none_is_named_so(data: bytes, package: Path) -> None:
    (package / "Manifest.json").write_bytes(data)
    with pytest.raises(BundleError, match=r"Manifest\.json"):
        MilSession(package)


def test_weights_that_are_a_link_out_of_the_package_are_not_read(package: Path, tmp_path: Path) -> None:
    (tmp_path / "outside.bin").write_bytes((package / WEIGHTS).read_bytes())
    (package / WEIGHTS).unlink()
    (package / WEIGHTS).symlink_to(tmp_path / "outside.bin")
    with pytest.raises(BundleError, match="link out of the package"):
        MilSession(package)


def test_weights_that_are_missing_short_or_no_file_are_named_so(package: Path) -> None:
    whole = (package / WEIGHTS).read_bytes()
    (package / WEIGHTS).write_bytes(whole[:9000])
    with pytest.raises(BundleError, match="ends before"):
        MilSession(package)
    (package / WEIGHTS).unlink()
    with pytest.raises(BundleError, match="is missing"):
        MilSession(package)
    os.mkfifo(package / WEIGHTS)
    with pytest.raises(BundleError, match="is missing"):
        MilSession(package)


def test_a_specification_cut_short_is_damaged(package: Path) -> None:
    (package / MODEL).write_bytes((package / MODEL).read_bytes()[:5000])
    with pytest.raises(BundleError, match="damaged"):
        MilSession(package)
