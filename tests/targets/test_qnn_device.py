"""The script that runs a context on a Snapdragon board, here on the x86 library that is told it is ARM."""

from __future__ import annotations

import csv
import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._schemes import NATIVE_U8_S8
from edgekit.targets.qnn.compile_contexts import MODEL
from edgekit.targets.qnn.device.qnn_profile import QnnProfileError, read_profile
from edgekit.targets.qnn.library import open_session
from tests.converted import make_bundle, run
from tests.models import run_onnx, toy_cnn
from tests.targets.qnn_models import FEEDS, TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact

TIME = "Accelerator (execute) time"
# The worker of a board, with a processor's name of its own.
WORKER = """
import json, platform, sys
platform.machine = lambda: {machine!r}
import numpy as np
import run_qnn
model = run_qnn.open_model({path!r}, 1)
feeds = dict(np.load("feeds.npz"))
np.savez("outputs.npz", **model.run(feeds))
print(json.dumps([model.describe(), model.layers(feeds, runs=2)]))
"""


def work(artifact: Artifact, folder: Path, machine: str = "aarch64") -> subprocess.CompletedProcess[str]:
    """The script in a process of its own, in the folder of the artifact's files."""
    device_run = TARGET.device_run(artifact, job().device)
    for name, script in device_run.files.items():
        (folder / name).write_bytes(script.read_bytes())
    np.savez(folder / "feeds.npz", allow_pickle=False, **FEEDS)
    source = WORKER.format(machine=machine, path=str(folder / artifact.main))
    return subprocess.run(
        [sys.executable, "-c", source], cwd=folder, capture_output=True, text=True, check=False, timeout=300
    )


def test_the_board_script_gives_the_contexts_outputs_and_a_time_for_each_node(tmp_path: Path) -> None:
    component = quantized(toy_cnn(), NATIVE_U8_S8)
    artifact = build(component, tmp_path, job())
    done = work(artifact, tmp_path)
    assert done.returncode == 0, done.stderr
    described, layers = json.loads(done.stdout.splitlines()[-1])
    assert described.startswith("onnxruntime-qnn")
    with np.load(tmp_path / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], run_onnx(component.model, FEEDS)["y"], atol=3e-2)
    names = {row["name"] for row in layers["rows"]}
    assert any(name.startswith("conv1") for name in names)
    assert all(row["us"] > 0 for row in layers["rows"])
    assert layers["placements"][0]["unit"] == "HTP"


def test_the_float_baseline_runs_on_the_boards_cpu(tmp_path: Path) -> None:
    artifact = build(as_component(toy_cnn()), tmp_path, job("fp32"))
    done = work(artifact, tmp_path, "x86_64")
    assert done.returncode == 0, done.stderr
    with np.load(tmp_path / "outputs.npz") as outputs:
        np.testing.assert_allclose(outputs["y"], run_onnx(toy_cnn(), FEEDS)["y"], atol=1e-5)


def test_an_emulated_htp_is_never_timed(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, "snapdragon-8-gen-3")
    result = run("profile", bundle, "--on", "local", "--runs", "5", "--idle", "100ms", "--variant", "int8")
    assert result.exit_code == 1
    assert "no Hexagon NPU" in result.output


# Two executions as a detailed profile of onnxruntime-qnn 2.7 tells them, shortened.
PROFILE = """Msg Timestamp,Message,Time,Unit of Measurement,Timing Source,Event Level,Event Identifier
0,BACKEND,355,US,BACKEND,ROOT,Accelerator (load binary) time
0,BACKEND,1000,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
0,NODE,250,CYCLES,BACKEND,SUB-EVENT,conv,1:OpId_25 (cycles)
0,NODE,750,CYCLES,BACKEND,SUB-EVENT,Output OpId_3 (cycles)
0,BACKEND,80,US,BACKEND,ROOT,Accelerator (execute) time
0,EXECUTE,90,US,BACKEND,ROOT,QNN (execute) time
0,BACKEND,500,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)
0,NODE,500,CYCLES,BACKEND,SUB-EVENT,conv,1:OpId_25 (cycles)
0,NODE,0,CYCLES,BACKEND,SUB-EVENT,Output OpId_3 (cycles)
0,BACKEND,40,US,BACKEND,ROOT,Accelerator (execute) time
"""


def test_a_nodes_time_is_its_share_of_each_executions_cycles() -> None:
    # A quarter of 80 us and all of 40 us over two executions; three quarters of 80 us over two.
    times = {row["name"]: row["us"] for row in read_profile(PROFILE, 2)}
    assert times == pytest.approx({"conv,1": 30.0, "Output OpId_3": 30.0})
    # Of a model in two contexts both executions are of one run.
    assert {row["name"]: row["us"] for row in read_profile(PROFILE, 1)} == pytest.approx(
        {"conv,1": 60.0, "Output OpId_3": 60.0}
    )


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> str:
    """The profile that Qualcomm's own library writes of three runs here."""
    folder = tmp_path_factory.mktemp("profile")
    artifact = build(quantized(toy_cnn(), NATIVE_U8_S8), folder, job())
    options = {"profiling_level": "detailed", "profiling_file_path": str(folder / "p.csv")}
    session = open_session(str(folder / artifact.main / MODEL), options, {})
    for _ in range(3):
        session.run(None, FEEDS)
    del session
    return (folder / "p.csv").read_text(encoding="utf-8")


def test_every_node_and_microsecond_of_qualcomms_own_profile_is_told(written: str) -> None:
    lines = [row for row in csv.DictReader(written.splitlines()) if row["Message"] == "NODE"]
    rows = read_profile(written, 3)
    assert len(rows) == len({line["Event Identifier"] for line in lines}) > 5
    whole = [line for line in csv.DictReader(written.splitlines()) if line["Event Identifier"] == TIME]
    # In the emulation the nodes' cycles add up to their execution's.
    found = sum(float(str(row["us"])) for row in rows)
    assert found == pytest.approx(sum(float(line["Time"]) for line in whole) / 3, rel=0.02)


def test_a_profile_that_was_cut_off_anywhere_is_told(written: str) -> None:
    lines = written.splitlines(keepends=True)
    for count in range(len(lines)):
        if any(TIME + "\n" in line for line in lines[count:]):
            with pytest.raises(QnnProfileError) as refused:
                read_profile("".join(lines[:count]), 3)
            assert "\n" not in str(refused.value)
            assert "QNN profile" in str(refused.value)
    middle = written.index("conv1") + 3
    with pytest.raises(QnnProfileError, match="cut off"):
        read_profile(written[:middle], 3)


@pytest.mark.parametrize(
    ("old", "new", "told"),
    [
        ("Msg Timestamp,Message,Time", "Timestamp,Message,Cycles", "its first line is 'Timestamp,"),
        ("250,CYCLES", "250,US", "line 4 .* unit 'US', not CYCLES"),
        ("NODE,250,", "NODE,-250,", "line 4 .* value is '-250'"),
        ("0,BACKEND,1000,CYCLES", "0,BACKEND,1000,US", "line 3 .* begins"),
        ("0,BACKEND,1000,CYCLES,BACKEND,ROOT,Accelerator (execute) time (cycles)\n", "", "line 3 .* outside"),
        ("0,BACKEND,80,US,BACKEND,ROOT,Accelerator (execute) time\n", "", "begins before the last one ended"),
    ],
)
def test_another_heading_unit_or_order_is_told_by_its_line(old: str, new: str, told: str) -> None:
    assert old in PROFILE
    with pytest.raises(QnnProfileError, match=told):
        read_profile(PROFILE.replace(old, new, 1), 2)
