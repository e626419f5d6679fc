"""The script that runs a context on a Snapdragon board, here on the x86 library that is told it is ARM."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit._schemes import NATIVE_U8_S8
from tests.converted import make_bundle, run
from tests.models import run_onnx, toy_cnn
from tests.targets.qnn_models import FEEDS, TARGET, as_component, build, job, quantized

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact

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


def test_a_nodes_time_is_its_share_of_each_executions_cycles(tmp_path: Path) -> None:
    script = TARGET.device_run(build(as_component(toy_cnn()), tmp_path, job("fp32")), job().device)
    (tmp_path / "profile.csv").write_text(PROFILE)
    source = "import json, run_qnn; print(json.dumps(run_qnn.read_profile(open('profile.csv').read(), 2)))"
    for name, path in script.files.items():
        (tmp_path / name).write_bytes(path.read_bytes())
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    # A quarter of 80 us and all of 40 us over two executions; three quarters of 80 us over two.
    times = {row["name"]: row["us"] for row in json.loads(done.stdout)}
    assert times == pytest.approx({"conv,1": 30.0, "Output OpId_3": 30.0})
