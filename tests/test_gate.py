"""The gate: every demand kept, broken and unknown; policies refused; the workflow of the docs."""

from __future__ import annotations

import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree as ET

import onnx
import pytest
import yaml

import edgekit
from edgekit.errors import UsageError
from examples.first_model import write_first_model
from tests.converted import make_bundle, make_workspace, run

ROOT = Path(__file__).parents[1]
PAGE = (ROOT / "docs" / "gate.md").read_text(encoding="utf-8")


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def write_policy(folder: Path, text: str) -> Path:
    (folder / "policy.toml").write_text(f"version = 1\n{text}", encoding="utf-8")
    return folder / "policy.toml"


def failed_checks(bundle: Path, policy: Path) -> dict[str, str]:
    """Name -> what was seen, of the checks that failed."""
    result = edgekit.gate(bundle, policy)
    return {row.name: row.seen for made in result.bundles for row in made.checks if not row.passed}


def test_a_bundle_passes_what_it_keeps(bundle: Path, tmp_path: Path) -> None:
    policy = write_policy(
        tmp_path, '[limits]\nsize = "1GB"\n[samples]\nallow = ["samples"]\n[parity]\nmin_cosine = 0.5\n'
    )
    done = run("gate", bundle, "--policy", policy, "--json")
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told["passed"] is True
    assert (
        told["gate"]["bundles"][0]["digest"]
        == hashlib.sha256((bundle / "manifest.json").read_bytes()).hexdigest()
    )
    assert {row["kind"] for row in told["gate"]["bundles"][0]["checks"]} == {"limits", "samples", "parity"}


def test_a_size_is_held_to_the_bytes_on_disk(bundle: Path, tmp_path: Path) -> None:
    size = (bundle / "model.int8.ort").stat().st_size
    assert not failed_checks(bundle, write_policy(tmp_path, f'[limits]\nsize = "{size}B"\n'))
    assert set(failed_checks(bundle, write_policy(tmp_path, f'[limits]\nsize = "{size - 1}B"\n'))) == {"size"}


def test_what_nobody_measured_has_not_passed(bundle: Path, tmp_path: Path) -> None:
    failed = failed_checks(bundle, write_policy(tmp_path, '[limits]\nlatency = "1000s"\n'))
    assert "unknown" in failed["latency"]


def test_a_prediction_counts_only_where_the_policy_says_so(bundle: Path, tmp_path: Path) -> None:
    limit = '[limits]\nmemory = "1000GB"\n'
    assert "only measured figures count" in failed_checks(bundle, write_policy(tmp_path, limit))["memory"]
    both = f'{limit}[figures]\ncount = ["measured", "predicted"]\n'
    assert not failed_checks(bundle, write_policy(tmp_path, both))


def test_an_sqnr_that_int8_cannot_have_is_refused_and_fp32_keeps_it(bundle: Path, tmp_path: Path) -> None:
    failed = failed_checks(bundle, write_policy(tmp_path, "[parity]\nmin_sqnr_db = 90\n"))
    assert failed
    assert all(name.startswith("model int8 ") for name in failed)


def test_licences_are_those_of_the_model_file(bundle: Path, tmp_path: Path) -> None:
    policy = write_policy(tmp_path, '[licences]\nallow = ["MIT"]\n')
    assert "unknown" in failed_checks(bundle, policy)["model"]
    for licence, refused in (("MIT", False), ("AGPL-3.0-only", True)):
        place = tmp_path / licence
        place.mkdir()
        make_workspace(place)
        model = onnx.load(place / "m.onnx")
        onnx.helper.set_model_props(model, {"license": licence})
        onnx.save(model, place / "m.onnx")
        made = edgekit.convert(
            place / "m.onnx", targets="ort-mobile", precisions="fp32", output=place / "out", cache="off"
        )
        assert bool(failed_checks(made.bundles[0].folder, policy)) is refused


def test_unproven_artifacts_pass_only_where_allowed(tmp_path: Path) -> None:
    made = make_bundle(tmp_path, "jetson-orin-nano-8gb")
    manifest = json.loads((made / "manifest.json").read_text())
    proven = all(row["status"] == "proven" for row in manifest["parity"])
    assert bool(failed_checks(made, write_policy(tmp_path, '[parity]\nunproven = "refuse"\n'))) is not proven
    assert not failed_checks(made, write_policy(tmp_path, '[parity]\nunproven = "allow"\n'))


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[limit]\nsize = "1MB"\n', "did you mean 'limits'"),
        ('[limits]\nlatancy = "1ms"\n', "did you mean 'latency'"),
        ('[limits]\nsize = "1W"\n', "'W' is no unit of size"),
        ("[parity]\nmin_cosin = 1\n", "did you mean 'min_cosine'"),
        ("[parity]\nmin_cosine = 99\n", "out of range"),
        ("[parity]\nmin_sqnr_db = true\n", "out of range"),
        ('[parity]\nunproven = "yes"\n', "refuse, allow"),
        ('[figures]\ncount = ["guessed"]\n', "measured, predicted"),
        ("[licences]\nallow = []\n", "no list of words"),
        ("parity = 3\n", "is no table"),
        ("", "demands nothing"),
        ("[limits\n", "is not TOML"),
    ],
)
def test_a_policy_that_cannot_be_kept_is_refused(bundle: Path, tmp_path: Path, text: str, told: str) -> None:
    done = run("gate", bundle, "--policy", write_policy(tmp_path, text))
    assert done.exit_code == 2
    assert told in done.output


def test_a_policy_of_another_version_or_none_at_all_is_refused(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "policy.toml").write_text("version = 2\n")
    for policy in (tmp_path / "policy.toml", tmp_path / "none.toml"):
        with pytest.raises(UsageError, match="policy"):
            edgekit.gate(bundle, policy)


def test_a_changed_byte_is_refused_before_anything_is_judged(bundle: Path, tmp_path: Path) -> None:
    copy = Path(shutil.copytree(bundle, tmp_path / "copy"))
    data = bytearray((copy / "model.int8.ort").read_bytes())
    data[len(data) // 2] ^= 1
    (copy / "model.int8.ort").write_bytes(data)
    done = run("gate", copy, "--policy", write_policy(tmp_path, '[limits]\nsize = "1GB"\n'))
    assert done.exit_code == 1
    assert "model.int8.ort" in done.output


def test_files_that_cannot_be_written_are_told(bundle: Path, tmp_path: Path) -> None:
    policy = write_policy(tmp_path, '[limits]\nsize = "1GB"\n')
    done = run("gate", bundle, "--policy", policy, "--junit", tmp_path / "no" / "gate.xml")
    assert done.exit_code == 1
    assert "cannot be written" in done.output


def test_the_workflow_of_the_docs_runs_through_its_own_steps(tmp_path: Path) -> None:
    write_first_model(tmp_path)
    policy, workflow = (
        re.search(rf"```{kind}\n(.*?)```", PAGE, re.DOTALL)[1]  # type: ignore[index]  # absent: the test fails
        for kind in ("toml", "yaml")
    )
    (tmp_path / "policy.toml").write_text(policy)
    summary = tmp_path / "summary.md"
    summary.write_text("of an earlier step\n")
    paths = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    steps = yaml.safe_load(workflow)["jobs"]["gate"]["steps"]
    commands = {step["name"]: step["run"] for step in steps if "run" in step}
    assert list(commands) == ["Install", "Convert", "Gate"]
    for name in ("Convert", "Gate"):
        done = subprocess.run(
            ["bash", "-e", "-c", commands[name]],  # as GitHub's runner does
            cwd=tmp_path,
            env=os.environ
            | {"PATH": paths, "GITHUB_STEP_SUMMARY": str(summary), "EDGEKIT_CACHE": str(tmp_path / "c")},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stdout + done.stderr
    suite = ET.parse(tmp_path / "gate.xml").getroot()[0]
    assert (suite.get("name"), suite.get("failures")) == ("generic-ort-mobile", "0")
    assert len(suite) == int(suite.get("tests", "0")) >= 9
    text = summary.read_text()
    assert text.startswith("of an earlier step\n## gate passed")
    rows = [line for line in text.splitlines() if line.startswith("|")]
    assert len(rows) == len(suite) + 2
    assert all(line.count("|") == 5 for line in rows)


def test_a_failed_gate_says_so_in_every_form(bundle: Path, tmp_path: Path) -> None:
    policy = write_policy(tmp_path, '[limits]\nsize = "1B"\n')
    junit, summary = tmp_path / "gate.xml", tmp_path / "summary.md"
    done = run("gate", bundle, "--policy", policy, "--junit", junit, "--summary", summary)
    assert done.exit_code == 1
    assert "FAILED" in done.stdout
    failures = ET.parse(junit).getroot().findall("testsuite/testcase/failure")
    assert [failure.get("message", "")[:5] for failure in failures] == ["size:"]
    assert summary.read_text().startswith("## gate failed: 1 of ")
