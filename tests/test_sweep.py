"""Sweeps: many models and targets on local processes and on a real Dask cluster, with one result."""

from __future__ import annotations

import json
import socket
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit._sweep import run_job as job_room
from edgekit._sweep.read_sweep import read_sweep
from edgekit._sweep.run_on_dask import describe_worker
from edgekit.errors import CannotRunHere, UsageError
from edgekit.reports.sweep_report import render_sweep
from tests.converted import make_workspace, run
from tests.dask_cluster import open_cluster

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._sweep_values import SweepResult

RECIPE = """
targets = ["ort-mobile", "jetson-orin"]
precisions = ["fp32"]
golden_count = 1

[gate]
min_sqnr_db = 40

[[models]]
model = "m.onnx"

[[models]]
name = "small-batch"
model = "batch.onnx"
targets = ["ort-mobile"]
shapes = { x = "2,3,16,16" }
"""


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_workspace(tmp_path_factory.mktemp("sweep"))
    (folder / "sweep.toml").write_text(RECIPE)
    return folder


@pytest.fixture(scope="module")
def local(work: Path) -> SweepResult:
    return edgekit.sweep(work / "sweep.toml", output=work / "local", cache=work / "cache-local", workers=2)


def digests(result: SweepResult) -> dict[tuple[str, str], str]:
    return {(row.name, row.device): row.digest for row in result.rows}


def test_every_model_is_converted_for_every_target(work: Path, local: SweepResult) -> None:
    assert local.passed
    assert local.ran_on == "2 local processes"
    found = [(row.name, row.target, row.device, row.status, row.tries) for row in local.rows]
    assert found == [
        ("m", "ort-mobile", "generic-ort-mobile", "passed", 1),
        ("m", "jetson-orin", "jetson-orin-nano-8gb", "passed", 1),
        ("small-batch", "ort-mobile", "generic-ort-mobile", "passed", 1),
    ]
    for row in local.rows:
        assert edgekit.verify(work / "local" / row.name / row.device).passed
        assert row.size is not None
        assert row.size > 1000


def test_one_job_gives_what_convert_gives(work: Path, local: SweepResult) -> None:
    made = edgekit.convert(
        work / "m.onnx",
        targets="ort-mobile",
        precisions="fp32",
        golden_count=1,
        gate={"min_sqnr_db": 40},
        output=work / "single",
        cache="off",
    )
    assert made.bundles[0].digest == local.rows[0].digest


def test_a_cluster_gives_the_same_bundles_and_loses_nothing_with_a_worker(
    work: Path, local: SweepResult, tmp_path: Path
) -> None:
    with open_cluster(tmp_path) as cluster:
        seen: list[int] = []

        def kill_one(stage: str, done: int, total: int | None) -> None:
            seen.append(done)
            if done == 1:
                cluster.workers[0].kill()

        result = edgekit.sweep(
            work / "sweep.toml",
            dask=cluster.address,
            output=tmp_path / "out",
            cache=tmp_path / "cache",
            progress=kill_one,
        )
        assert cluster.workers[0].wait() == -9
        assert seen == [1, 2, 3]
        assert result.passed
        assert digests(result) == digests(local)
        assert result.ran_on == f"2 workers of {cluster.address}"


def test_workers_with_another_edgekit_are_refused(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mine = describe_worker()
    monkeypatch.setattr("edgekit._sweep.run_on_dask.tool_versions", lambda: mine | {"numpy": "0.0"})
    with (
        open_cluster(tmp_path, workers=1) as cluster,
        pytest.raises(CannotRunHere, match=r"another numpy \(.*, here 0\.0\)"),
    ):
        edgekit.sweep(work / "sweep.toml", dask=cluster.address, output=tmp_path / "out")


def test_a_cluster_without_workers_is_told(work: Path, tmp_path: Path) -> None:
    with open_cluster(tmp_path, workers=0) as cluster, pytest.raises(CannotRunHere, match="has no worker"):
        edgekit.sweep(work / "sweep.toml", dask=cluster.address, output=tmp_path / "out")


def test_an_unreachable_cluster_is_one_clear_line(work: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgekit._sweep.run_on_dask.CONNECT_SECONDS", 1)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"tcp://127.0.0.1:{taken.getsockname()[1]}"
    answer = run("sweep", work / "sweep.toml", "--dask", address, "-o", work / "never")
    assert answer.exit_code == 1
    assert f"no Dask scheduler answers at {address}" in answer.stderr
    assert "leave --dask out" in answer.stderr
    assert not (work / "never").exists()


@pytest.mark.parametrize(
    ("dask", "workers", "message"),
    [
        ("127.0.0.1:8786", None, "is no address"),
        ("tcp://h:1", 2, "--workers is about local"),
        (None, 0, "no count"),
    ],
)
def test_words_that_make_no_sense_are_wrong_usage(work: Path, dask: Any, workers: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        edgekit.sweep(work / "sweep.toml", dask=dask, workers=workers)


def test_a_refused_job_leaves_the_others_alone_and_exits_1(work: Path) -> None:
    (work / "broken.onnx").write_bytes(b"no model")
    (work / "mixed.toml").write_text(
        'targets = "ort-mobile"\nprecisions = "fp32"\ngolden_count = 1\n'
        '[[models]]\nmodel = "broken.onnx"\n[[models]]\nmodel = "m.onnx"\n'
    )
    answer = run("sweep", work / "mixed.toml", "-o", work / "mixed", "--json", "--workers", "1")
    told = json.loads(answer.stdout)
    assert answer.exit_code == 1
    assert (told["schema"], told["passed"]) == ("edgekit.sweep", False)
    assert [row["status"] for row in told["rows"]] == ["refused", "passed"]
    assert "broken.onnx is not an ONNX file" in told["rows"][0]["error"]
    assert (work / "mixed" / "m" / "generic-ort-mobile" / "manifest.json").exists()
    assert not (work / "mixed" / "broken").exists()


def test_a_process_that_dies_is_tried_again_and_then_told(
    work: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (job,) = read_sweep(work / "sweep.toml", {"output": tmp_path})[:1]
    code = (
        "import os, sys; print('out of memory', file=sys.stderr); sys.stderr.flush(); os.kill(os.getpid(), 9)"
    )
    monkeypatch.setattr(job_room, "_CHILD", (job_room._CHILD[0], "-c", code))
    row = job_room.run_job(job)
    assert (row.status, row.tries) == ("died", 3)
    assert row.error == "its process ended with signal 9, 3 times: out of memory"


def test_a_child_ends_when_nobody_waits_for_it(work: Path, tmp_path: Path) -> None:
    import subprocess

    (job,) = read_sweep(work / "sweep.toml", {"output": tmp_path})[:1]
    child = subprocess.Popen(job_room._CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    out, _ = child.communicate(json.dumps(job_room._plain(job)).encode() + b"\n", timeout=60)
    assert (child.returncode, out) == (3, b"")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('targets = "ort-mobile"', "has no models"),
        ("models = 3", "has no models"),
        ("[[models]]\nlimit = 3", "names no model"),
        ('[[models]]\nmodel = "m.onnx"\ntargts = "x"', "did you mean 'targets'"),
        ('[[models]]\nmodel = "m.onnx"\nname = "../up"', "cannot be a folder's name"),
        ('[[models]]\nmodel = "m.onnx"\n[[models]]\nmodel = "m.onnx"', "is there twice"),
        ('[[models]]\nmodel = "m.onnx"\nmetric = "mine:score"', "names code to run"),
        ('cache = "off"\n[[models]]\nmodel = "m.onnx"', "a file cannot decide this"),
        ("[[models]", "is not TOML"),
    ],
)
def test_a_recipe_that_makes_no_sense_runs_nothing(tmp_path: Path, text: str, message: str) -> None:
    shared = "" if "targets" in text.split("[[", maxsplit=1)[0] else 'targets = "ort-mobile"\n'
    (tmp_path / "sweep.toml").write_text(shared + text)
    with pytest.raises(UsageError, match=message):
        edgekit.sweep(tmp_path / "sweep.toml", output=tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_own_options_take_the_place_of_shared_ones_and_paths_are_the_files(work: Path) -> None:
    jobs = read_sweep(work / "sweep.toml", {})
    assert [(job.name, job.target) for job in jobs] == [
        ("m", "ort-mobile"),
        ("m", "jetson-orin"),
        ("small-batch", "ort-mobile"),
    ]
    assert f'model = "{work}/batch.onnx"' in jobs[2].recipe
    assert 'x = "2,3,16,16"' in jobs[2].recipe
    assert "min_sqnr_db" in jobs[2].recipe


def test_the_table_names_what_did_not_pass(local: SweepResult) -> None:
    text = render_sweep(local)
    assert "3 of 3 on 2 local processes: all passed" in text
    assert "small-batch  ort-mobile" in text
