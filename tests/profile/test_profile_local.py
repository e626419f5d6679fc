"""edgekit profile on this machine: the real runtimes, timed by the real runner, and what breaks it."""

from __future__ import annotations

import dataclasses
import json
import os
import signal
import stat
import subprocess
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import jsonschema
import numpy as np
import pytest

import edgekit
from edgekit._profile import Profile, load_profile
from edgekit._profile.figures import latency_statistics
from edgekit._profile.heard import Heard
from edgekit.errors import BundleError, OutputError, UsageError
from edgekit.profiles.probes.streams import Stream
from edgekit.profiles.probes.transport import DeviceError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from collections.abc import Iterator

QUICK: Any = {"idle": "100ms", "runs": 10, "warm_up": 1, "patience": "30s"}
SCHEMA = Path(edgekit.__file__).parent / "schemas" / "profile.schema.json"


@pytest.fixture(scope="module", params=["ort-mobile", "litert"])
def bundle(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An int8 bundle of the toy CNN with its fp32 baseline."""
    return make_bundle(tmp_path_factory.mktemp("made"), request.param)


@pytest.fixture(scope="module")
def profile(bundle: Path) -> Profile:
    return edgekit.profile(bundle, **QUICK).profile


def read_tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_int8_is_timed_beside_its_baseline_in_the_same_run(profile: Profile) -> None:
    assert profile.complete, profile.problem
    assert [artifact.variant for artifact in profile.artifacts] == ["int8", "fp32"]
    for artifact in profile.artifacts:
        assert len(artifact.latencies_ms) == 10
        assert all(ms > 0 for ms in artifact.latencies_ms)


def test_the_figures_are_those_of_the_timed_runs(profile: Profile) -> None:
    for artifact in profile.artifacts:
        place = f"{artifact.component}/{artifact.variant}"
        found = {row.metric: row.value for row in artifact.measurements}
        ms = np.array(artifact.latencies_ms)
        assert found[f"{place}/latency/mean"] == pytest.approx(ms.sum() / 10)
        assert found[f"{place}/latency/p50"] == pytest.approx(np.sort(ms)[4:6].mean())
        assert found[f"{place}/latency/max"] == max(artifact.latencies_ms)
        assert all(row.kind == "measured" for row in artifact.measurements)


def test_outputs_on_the_device_are_compared_with_fp32(profile: Profile, bundle: Path) -> None:
    sealed = json.loads((bundle / "manifest.json").read_text())["parity"]
    for artifact, proof in zip(profile.artifacts, sealed, strict=True):
        # The same file on the same machine: the host's own proof is an independent run of the same numbers.
        assert artifact.parity[0].sqnr_db == pytest.approx(
            float(proof["against_fp32"][0]["sqnr_db"]), abs=0.5
        )


def test_layers_are_told_or_the_reason_is(profile: Profile) -> None:
    for artifact in profile.artifacts:
        assert artifact.layers or artifact.layers_note
        assert all(layer.us >= 0 for layer in artifact.layers)


def test_power_without_a_meter_is_not_measured(profile: Profile) -> None:
    if any(name.startswith("power/") for name in profile.meters):
        pytest.skip("this device has a power meter")
    assert not [row for row in profile.measurements if row.unit in ("W", "mJ")]
    assert any(note.startswith("power and energy: not measured") for note in profile.notes)


def test_the_sealed_bundle_does_not_change_and_the_profile_lies_beside_it(bundle: Path) -> None:
    before = read_tree(bundle)
    result = edgekit.profile(bundle, variants="int8", **QUICK)
    assert read_tree(bundle) == before
    assert result.file.parent == bundle.parent / f"{bundle.name}.profiles"
    assert result.profile.bundle == load_profile(result.file).bundle


def test_a_profile_comes_back_from_its_file_and_keeps_to_the_published_schema(
    profile: Profile, tmp_path: Path
) -> None:
    from edgekit._profile import save_profile

    file = tmp_path / "p.json"
    save_profile(profile, file)
    jsonschema.Draft202012Validator(json.loads(SCHEMA.read_text())).validate(json.loads(file.read_text()))
    assert load_profile(file) == dataclasses.replace(profile)


def test_a_profile_is_readable_as_other_files_are_and_a_failed_one_leaves_nothing(
    profile: Profile, tmp_path: Path
) -> None:
    from edgekit._profile import save_profile

    save_profile(profile, tmp_path / "p.json")
    (tmp_path / "plain").touch()
    assert stat.S_IMODE((tmp_path / "p.json").stat().st_mode) == stat.S_IMODE(
        (tmp_path / "plain").stat().st_mode
    )
    (tmp_path / "taken" / "q.json").mkdir(parents=True)
    with pytest.raises(OutputError, match="cannot be written"):
        save_profile(profile, tmp_path / "taken" / "q.json")
    assert [one.name for one in (tmp_path / "taken").iterdir()] == ["q.json"]


@pytest.mark.parametrize(
    "change",
    [{"bundle": "x"}, {"extra": 1}, {"artifacts": {}}, {"version": 2}, {"matches": "yes"}],
)
def test_a_profile_file_that_breaks_the_schema_is_refused(
    profile: Profile, tmp_path: Path, change: dict[str, Any]
) -> None:
    from edgekit._profile.measurements import profile_json

    file = tmp_path / "p.json"
    file.write_text(json.dumps(profile_json(profile) | change))
    with pytest.raises(BundleError, match=r"p\.json"):
        load_profile(file)


def test_nothing_is_left_behind(bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    edgekit.profile(bundle, variants="int8", **QUICK)
    assert not list(tmp_path.glob("edgekit*"))


def test_a_kept_folder_stays(bundle: Path, tmp_path: Path) -> None:
    edgekit.profile(bundle, variants="int8", keep=str(tmp_path / "kept"), **QUICK)
    assert (tmp_path / "kept" / ".edgekit" / "runner.py").is_file()


def test_a_broken_budget_is_exit_1_and_an_unmeasured_one_is_unknown(bundle: Path, tmp_path: Path) -> None:
    words = ("profile", bundle, "--runs", "5", "--warmup", "1", "-o", tmp_path / "p.json")
    tight = run(*words, "--budget", "latency=1ns,power=1W")
    assert tight.exit_code == 1
    assert "FAILED budget latency" in tight.output
    assert "power 1W: unknown" in tight.output
    assert run(*words, "--budget", "latency=1000s").exit_code == 0


def test_a_soak_runs_on_and_tells_burst_from_sustained(bundle: Path) -> None:
    profile = edgekit.profile(bundle, variants="int8", soak="12s", **QUICK).profile
    found = {row.metric: row.value for row in profile.measurements}
    component = profile.artifacts[0].component
    assert all((found[f"{component}/int8/soak/{part}"] or 0) > 0 for part in ("burst", "sustained"))
    assert len(profile.artifacts[0].latencies_ms) == 10


@pytest.mark.parametrize(
    ("words", "told"),
    [
        ({"runs": 0}, "runs is 0"),
        ({"duration": "soon"}, "no duration"),
        ({"soak": "25h"}, "no duration"),
        ({"threads": 0}, "threads is 0"),
        ({"variants": "int4"}, "no variant 'int4'"),
        ({"components": "decoder"}, "no component 'decoder'"),
        ({"rns": 3}, "did you mean 'runs'"),
        ({"budget": "latency=5W"}, "no unit of latency"),
    ],
)
def test_wrong_words_are_refused_before_anything_runs(bundle: Path, words: Any, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        edgekit.profile(bundle, **words)


@pytest.mark.parametrize(
    "place", ["lokal", "-o", "ssh:", "local://x", "ssh://-oProxyCommand=x", "ssh://a b", ""]
)
def test_a_place_that_is_none_is_wrong_usage(bundle: Path, place: str) -> None:
    with pytest.raises(UsageError):
        edgekit.profile(bundle, place)


def test_a_changed_bundle_never_reaches_the_device(bundle: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(bundle, copy)
    artifact = json.loads((copy / "manifest.json").read_text())["artifacts"][0]["main"]
    data = bytearray((copy / artifact).read_bytes())
    data[len(data) // 2] ^= 1
    (copy / artifact).write_bytes(bytes(data))
    with pytest.raises(BundleError, match="sha256"):
        edgekit.profile(copy)


def children(pid: int) -> Iterator[int]:
    """All processes below `pid`, from the kernel's tables."""
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[1]) == pid:
            yield int(entry.name)
            yield from children(int(entry.name))


def break_worker(number: int, after_s: float = 1.5) -> None:
    """Wait for a worker of this process's runner to time, then send it a signal."""
    until = time.monotonic() + 30
    while time.monotonic() < until:
        for pid in children(os.getpid()):
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(b"worker.py") for word in words):
                time.sleep(after_s)
                os.kill(pid, number)
                return
        time.sleep(0.05)


def test_a_killed_runtime_ends_the_run_with_what_was_heard(bundle: Path) -> None:
    breaker = threading.Thread(target=break_worker, args=(signal.SIGKILL,))
    breaker.start()
    result = edgekit.profile(bundle, variants="int8", duration="60s", warm_up=1, patience="30s")
    breaker.join()
    assert not result.passed
    assert "process ended (status -9)" in result.profile.problem
    assert result.profile.facts["machine"]
    assert result.file.is_file()


def test_a_stopped_device_is_noticed_by_its_silence(tmp_path: Path) -> None:
    stream = Stream(["sleep", "60"], label="board")
    started = time.monotonic()
    with pytest.raises(DeviceError, match="nothing was heard for 1 s"):
        stream.read_line(1.0)
    stream.stop()
    assert time.monotonic() - started < 10


def test_stopping_ends_what_a_command_started_even_if_it_is_frozen() -> None:
    stream = Stream(["sh", "-c", "sleep 300 & echo $!; wait"], label="board")
    child = int(stream.read_line(5.0) or b"0")
    os.kill(child, signal.SIGSTOP)
    stream.stop()
    for _ in range(50):
        if not Path(f"/proc/{child}").exists():
            return
        time.sleep(0.1)
    state = Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[0]
    assert state == "Z"


def test_a_program_that_is_not_there_is_named() -> None:
    with pytest.raises(DeviceError, match="'no-such-program' does not start"):
        Stream(["no-such-program"], label="local")


@pytest.mark.parametrize(
    "line",
    [
        b"Welcome to the board!",
        b"[]",
        b'{"event": "unknown"}',
        b'{"event": "round", "worker": 9, "start": 0, "end": 1, "ns": [1], "cpu_ns": 1}',
        b'{"event": "round", "worker": 0, "start": 2, "end": 1, "ns": [1], "cpu_ns": 1}',
        b'{"event": "round", "worker": 0, "start": 0, "end": 1, "ns": [-1], "cpu_ns": 1}',
        b'{"event": "round", "worker": 0, "start": 0, "end": NaN, "ns": [1], "cpu_ns": 1}',
        b'{"event": "sensors", "at": 1, "values": {"power/x_W": "much"}}',
        b'{"event": "facts", "facts": {"board": 3}}',
        b"[" * 100_000,
        b"\xff\xfe",
    ],
)
def test_what_is_no_event_of_the_runner_is_refused(line: bytes) -> None:
    with pytest.raises(DeviceError, match="no event of edgekit's runner"):
        Heard.of(1).take(line)


def test_statistics_are_those_of_the_textbook() -> None:
    found = latency_statistics([4.0, 1.0, 3.0, 2.0])
    assert (found["mean"], found["min"], found["max"], found["p50"]) == (2.5, 1.0, 4.0, 2.5)
    assert found["std"] == pytest.approx(((2.25 + 0.25 + 0.25 + 2.25) / 4) ** 0.5)
    assert found["p90"] == pytest.approx(3.7)


def test_the_device_side_is_python_3_8_of_the_standard_library() -> None:
    scripts = sorted(Path(edgekit.__file__).parent.joinpath("profiles/probes/device").glob("*.py"))
    assert scripts
    done = subprocess.run(
        ["vermin", "--target=3.8-", "--violations", *map(str, scripts)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout
