from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager, suppress
from dataclasses import replace
from http.client import HTTPConnection
from typing import TYPE_CHECKING, Any

import numpy as np
import onnxruntime as ort
import pytest

import edgekit
from edgekit._profile import load_profile, save_profile
from edgekit._results import Measurement
from edgekit.errors import UsageError
from tests.converted import make_bundle, run
from tests.package.cut_connection import cutting
from tests.package.platform_environment import find_python, run_there
from tests.package.registry import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# The server's own helpers (scoring of traces and the like) and its report of use are no part of this.
_QUIET = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}


@contextmanager
def run_server(folder: Path) -> Iterator[str]:
    """`host:port` of a real `mlflow server` over SQLite on loopback."""
    host = f"127.0.0.1:{free_port()}"
    command = [str(find_python("mlflow")), "-m", "mlflow", "server", "--host", "127.0.0.1"]
    command += ["--port", host.rpartition(":")[2], "--workers", "1"]
    command += ["--backend-store-uri", f"sqlite:///{folder / 'mlflow.sqlite'}"]
    command += ["--artifacts-destination", str(folder / "artifacts")]
    with (folder / "server.log").open("w") as log:
        process = subprocess.Popen(
            command, stdout=log, stderr=log, cwd=folder, env={**os.environ, **_QUIET}, start_new_session=True
        )
    try:
        until = time.monotonic() + 150
        while not _answers(host):
            assert process.poll() is None, (folder / "server.log").read_text()[-2000:]
            assert time.monotonic() < until, "mlflow server did not come up in 150 s"
            time.sleep(0.2)
        yield host
    finally:
        # It has workers of its own, all in the group that was made for it, which outlive a polite word.
        os.killpg(process.pid, signal.SIGKILL)
        process.wait(30)


def _answers(host: str) -> bool:
    connection = HTTPConnection(host, timeout=5)
    with suppress(OSError):
        connection.request("GET", "/health")
        return connection.getresponse().status == 200
    return False


def foretell(profile: Path) -> None:
    """Put a predicted figure beside the measured ones of a profile, and call this host the device."""
    made = load_profile(profile)
    row = Measurement("model/int8/energy/total", 0.5, "mJ", "predicted", "sibling", (0.25, 1.0))
    first = replace(made.artifacts[0], measurements=(*made.artifacts[0].measurements, row))
    save_profile(replace(made, matches=True, artifacts=(first, *made.artifacts[1:])), profile)


@pytest.fixture(scope="module")
def pushed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """Everything pushed in one process, for importing mlflow takes seconds, and what the server has after."""
    folder = tmp_path_factory.mktemp("pushed")
    bundle = make_bundle(folder)
    profiled = make_bundle_twin(bundle, folder / "twin")
    made = edgekit.profile(profiled, "local", runs=5, warm_up=1, idle="100ms")
    foretell(made.file)
    with run_server(folder) as host, cutting(host, 30_000) as cut:
        place = f"mlflow+http://{host}"
        job = {
            "pushes": [
                (str(bundle), f"{place}/toy"),
                (str(bundle), f"{place}/toy"),
                (str(profiled), f"{place}/toy?variant=int8"),
                (str(bundle), f"{place}/toy%20float?variant=fp32"),
                (str(bundle), f"{place}/to:y"),
                (str(bundle), f"mlflow+http://127.0.0.1:{free_port()}/toy"),
                (str(bundle), f"mlflow+http://{cut}/half"),
            ],
            "server": f"http://{host}",
            "read": ["toy", "toy float", "half"],
            "golden": str(bundle / "golden" / "model" / "000" / "inputs-0.npy"),
            "out": str(folder),
        }
        (folder / "job.json").write_text(json.dumps(job))
        found = run_there("mlflow", "push_there.py", folder / "job.json")
    return {**found, "bundle": bundle, "folder": folder, "profile": made.profile}


def make_bundle_twin(bundle: Path, folder: Path) -> Path:
    """The same bundle in another folder, so that its profiles lie apart."""
    folder.mkdir()
    subprocess.run(["cp", "-r", bundle, folder / bundle.name], check=True)
    return folder / bundle.name


def predict(pushed: dict[str, Any], file: str) -> np.ndarray:
    session = ort.InferenceSession(str(pushed["bundle"] / file), providers=["CPUExecutionProvider"])
    golden = np.load(pushed["bundle"] / "golden" / "model" / "000" / "inputs-0.npy")
    return np.asarray(session.run(None, {"x": golden})[0])


def test_a_registered_version_is_loaded_from_the_server_and_computes_what_onnxruntime_does(
    pushed: dict[str, Any],
) -> None:
    for name, file in (
        ("toy-1", "model.int8.ort"),
        ("toy-2", "model.int8.ort"),
        ("toy float-1", "model.fp32.ort"),
    ):
        got = np.load(pushed["folder"] / f"{name}.npy")
        assert np.array_equal(got, predict(pushed, file)), name


def test_the_run_tells_parity_share_and_lineage(pushed: dict[str, Any]) -> None:
    version = pushed["read"]["toy"][0]
    manifest = json.loads((pushed["bundle"] / "manifest.json").read_text())
    proof = next(row for row in manifest["parity"] if row["variant"] == "int8")
    assert version["status"] == "FINISHED"
    assert version["metrics"]["int8_mac_share"] == proof["macs"]["share"]
    assert version["metrics"]["parity/fp32/y/sqnr_db"] == proof["against_fp32"][0]["sqnr_db"]
    assert version["metrics"]["size_bytes"] == (pushed["bundle"] / "model.int8.ort").stat().st_size
    assert not [name for name in version["metrics"] if name.startswith(("device/", "predicted/"))]
    component = manifest["components"][0]
    for tags in (version["tags"], version["version_tags"]):
        assert tags["edgekit.source_sha256"] == component["source_sha256"]
        assert tags["edgekit.calibration_digest"] == component["calibration"]["digest"]
        assert tags["edgekit.variant"] == "int8"
    assert {"edgekit/manifest.json", "edgekit/report.json", "edgekit/calibration"} <= set(version["files"])
    assert version["report"]["devices"][0]["digest"] == version["tags"]["edgekit.bundle"]
    assert str(pushed["folder"]) not in json.dumps(version), "where it lay here is told to nobody"


def test_measured_figures_are_the_devices_and_predicted_ones_are_called_so(pushed: dict[str, Any]) -> None:
    metrics = pushed["read"]["toy"][1]["metrics"]
    rows = pushed["profile"].measurements
    p50 = next(row.value for row in rows if row.metric == "model/int8/latency/p50")
    assert metrics["device/latency/p50_ms"] == p50
    assert metrics["predicted/energy/total_mJ"] == 0.5
    assert metrics["predicted/energy/total_mJ/high"] == 1.0
    assert not [name for name in metrics if name.startswith("device/energy")]
    assert pushed["read"]["toy"][1]["tags"]["edgekit.profiled_on"] == pushed["profile"].place


def test_what_is_registered_is_not_sent_again_and_new_figures_are_a_new_version(
    pushed: dict[str, Any],
) -> None:
    first, again, profiled, other = pushed["pushes"][:4]
    assert first["place"].endswith("/toy version 1")
    assert (first["kept"], again["sent"], again["kept"]) == (0, 0, first["sent"])
    assert (again["place"], again["digest"]) == (first["place"], first["digest"])
    assert profiled["place"].endswith("/toy version 2")
    assert profiled["digest"] != first["digest"]
    assert other["sent"] > 0
    assert len(pushed["read"]["toy"]) == 2


def test_a_refused_name_a_server_that_is_down_and_one_that_breaks_off_are_told_and_leave_no_version(
    pushed: dict[str, Any],
) -> None:
    refused, down, cut = pushed["pushes"][4:]
    assert "Invalid model name 'to:y'" in refused["error"]
    assert "cannot be reached" in down["error"]
    assert "half" in cut["error"]
    assert "push again" in cut["fix"]
    assert pushed["read"]["half"] == []
    assert "to:y" not in pushed["models"]


def test_without_mlflow_the_command_says_what_installs_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)
    done = run("push", make_bundle(tmp_path), f"mlflow+http://127.0.0.1:{free_port()}/toy")
    assert done.exit_code == 1
    assert "pip install mlflow-skinny" in done.stderr


@pytest.mark.parametrize(
    "place",
    ["mlflow+http://host", "mlflow+http:///toy", "mlflow+http://me:secret@host/toy", "mlflow+http://h/a'b",
     "mlflow+http://h/toy?stage=x", "mlflow+http://h/toy#1", "mlflow+ftp://h/toy"],
)  # fmt: skip
def test_what_names_no_model_on_a_server_is_refused(tmp_path: Path, place: str) -> None:
    with pytest.raises(UsageError):
        edgekit.push(tmp_path, place)
