"""The bill of materials and the provenance hold under their own libraries' checks."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from typing import TYPE_CHECKING, Any

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator
from google.protobuf.json_format import Parse
from in_toto_attestation.v1.statement import Statement

import edgekit
from edgekit.errors import UsageError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def test_cyclonedx_takes_the_bill_of_materials(bundle: Path) -> None:
    text = edgekit.describe(bundle, "cyclonedx")
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(text) is None
    found = json.loads(text)
    files = {
        item["name"]: item["hashes"][0]["content"] for item in found["components"] if item["type"] == "file"
    }
    model = (bundle / "model.int8.ort").read_bytes()
    assert files["model.int8.ort"] == hashlib.sha256(model).hexdigest()
    (card,) = [item["modelCard"] for item in found["components"] if item["type"] == "machine-learning-model"]
    kinds = {row["type"] for row in card["quantitativeAnalysis"]["performanceMetrics"]}
    assert "share of MACs in int8" in kinds
    assert {row["name"] for row in card["modelParameters"]["datasets"]} == {"calibration", "golden"}


def test_in_toto_takes_the_provenance(bundle: Path) -> None:
    text = edgekit.describe(bundle, "in-toto")
    generated: Any = import_module("in_toto_attestation.v1.statement_pb2")
    message = Parse(text, generated.Statement())
    Statement.copy_from_pb(message).validate()
    subjects = {item.name: item.digest["sha256"] for item in message.subject}
    assert subjects["model.int8.ort"] == hashlib.sha256((bundle / "model.int8.ort").read_bytes()).hexdigest()
    source = hashlib.sha256((bundle.parent.parent / "m.onnx").read_bytes()).hexdigest()
    named = json.loads(text)["predicate"]["buildDefinition"]["resolvedDependencies"]
    assert named[0] == {"name": "source of model", "digest": {"sha256": source}}


def test_two_converts_give_the_same_words(bundle: Path, tmp_path: Path) -> None:
    again = make_bundle(tmp_path)
    for form in ("cyclonedx", "in-toto"):
        assert edgekit.describe(again, form) == edgekit.describe(bundle, form)


def test_the_command_writes_a_file_or_prints(bundle: Path, tmp_path: Path) -> None:
    printed = run("describe", bundle, "--as", "cyclonedx")
    assert printed.exit_code == 0
    assert run("describe", bundle, "--as", "cyclonedx", "-o", tmp_path / "bom.json").exit_code == 0
    assert (tmp_path / "bom.json").read_text() == printed.stdout
    assert run("describe", bundle, "--as", "cyclonedx", "-o", tmp_path / "no" / "bom.json").exit_code == 1
    with pytest.raises(UsageError, match="no description"):
        edgekit.describe(bundle, "spdx")  # type: ignore[arg-type]
