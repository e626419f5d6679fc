"""Clocks that differ, a reboot, a hung runtime: a clear end, what was heard is kept, --resume goes on."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit.profiles.probes.ssh import CONFIG
from tests.converted import make_bundle
from tests.profile.sshd import SSHD, Sshd, start_sshd
from tests.profile.test_profile_local import break_worker
from tests.profile.test_resume_and_meter import log_power

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._profile import ProfileResult

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is not installed (openssh-server)")
DAY_S = 86400


def need(reason: str, *, met: bool) -> None:
    """Skip with the reason, which CI does not allow."""
    if met:
        return
    if os.environ.get("CI") == "true":
        pytest.fail(reason)
    pytest.skip(reason)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    mounts = subprocess.run(["unshare", "--mount", "true"], check=False).returncode == 0
    need("a boot id of its own needs root and mount namespaces", met=mounts)
    running = start_sshd(tmp_path_factory.mktemp("sshd"), boot_id=str(uuid.uuid4()))
    yield running
    running.stop()


@pytest.fixture(autouse=True)
def nothing_stays() -> Iterator[None]:
    """Whatever happened, no folder of a run is left on the device."""
    before = run_folders()
    yield
    for _ in range(50):
        if run_folders() <= before:
            return
        time.sleep(0.2)
    pytest.fail(f"left behind: {run_folders() - before}")


def run_folders() -> set[Path]:
    return {*Path("/tmp").glob("tmp.*"), *Path("/tmp").glob("edgekit-profile-*")}


def resume(broken: ProfileResult, bundle: Path, place: str, words: dict[str, Any]) -> None:
    """What was measured before the break is in the whole profile, turn by turn."""
    assert not broken.passed
    assert broken.file.is_file()
    assert broken.profile.facts["machine"]
    kept = min(len(one.turns) for one in broken.profile.artifacts)
    assert kept >= 1
    again: Any = {**words, "resume": broken.file}
    whole = edgekit.profile(bundle, place, **again).profile
    assert whole.complete, whole.problem
    for before, after in zip(broken.profile.artifacts, whole.artifacts, strict=True):
        assert len(after.turns) == 5
        runs = sum(before.turns[:kept])
        assert after.latencies_ms[:runs] == pytest.approx(before.latencies_ms[:runs], abs=1e-6)


def reboot_in_the_second_turn(server: Sshd) -> None:
    time.sleep(9.0)
    server.reboot(away_s=3.0)


def test_a_reboot_in_the_middle_is_told_as_one_and_the_run_goes_on(
    server: Sshd, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    words: Any = {
        "duration": "12s",
        "warm_up": 1,
        "variants": "int8",
        "python": sys.executable,
        "idle": "100ms",
    }
    cut = threading.Thread(target=reboot_in_the_second_turn, args=(server,))
    cut.start()
    broken = edgekit.profile(bundle, server.place, output=tmp_path / "broken.json", patience="30s", **words)
    cut.join()
    assert "the device restarted during the run" in broken.profile.problem
    resume(broken, bundle, server.place, {**words, "output": tmp_path / "whole.json"})


def test_a_runtime_that_hangs_is_ended_and_told(bundle: Path, tmp_path: Path) -> None:
    words: Any = {"duration": "5s", "warm_up": 1, "patience": "4s", "idle": "100ms"}
    freezer = threading.Thread(target=break_worker, args=(signal.SIGSTOP, 3.0))
    freezer.start()
    broken = edgekit.profile(bundle, output=tmp_path / "broken.json", **words)
    freezer.join()
    assert "the runtime hangs" in broken.profile.problem
    resume(broken, bundle, "local", {**words, "output": tmp_path / "whole.json"})


def freeze_runner(server: Sshd) -> None:
    """SIGSTOP the runner itself, over ssh: nothing on the device can tell anything then."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        for pid in server.descendants():
            try:
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
            except OSError:
                continue
            if any(word.endswith(b"runner.py") for word in words) and words[0].endswith(b"python"):
                time.sleep(5.0)
                os.kill(pid, signal.SIGSTOP)
                return
        time.sleep(0.05)


def test_a_device_that_falls_silent_is_given_up_and_tidied(
    server: Sshd, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    words: Any = {
        "duration": "5s",
        "warm_up": 1,
        "variants": "int8",
        "python": sys.executable,
        "idle": "100ms",
    }
    freezer = threading.Thread(target=freeze_runner, args=(server,))
    freezer.start()
    broken = edgekit.profile(bundle, server.place, patience="4s", output=tmp_path / "b.json", **words)
    freezer.join()
    assert "nothing was heard" in broken.profile.problem
    assert "restarted" not in broken.profile.problem
    resume(broken, bundle, server.place, {**words, "output": tmp_path / "whole.json"})


def test_a_device_whose_date_is_wrong_is_measured_on_its_steady_clock_and_told(
    server: Sshd, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    # The device's date alone is another one; its steady clock, the sensors and the runtime are what they are.
    (tmp_path / "sitecustomize.py").write_text(
        f"import time; now = time.time; time.time = lambda: now() - 400 * {DAY_S}\n"
    )
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={tmp_path} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    stop, log = threading.Event(), tmp_path / "meter.csv"
    meter = threading.Thread(target=log_power, args=(log, stop))
    meter.start()
    words: Any = {"variants": "int8", "duration": "2s", "warm_up": 1, "power_csv": log, "python": str(python)}
    profile = edgekit.profile(bundle, server.place, output=tmp_path / "p.json", **words).profile
    stop.set()
    meter.join()
    assert profile.complete, profile.problem
    (told,) = [note for note in profile.notes if "behind this machine's" in note]
    assert abs(int(told.partition("date is ")[2].partition(" s")[0]) - 400 * DAY_S) < 60
    # The meter logs by this machine's date, 5 V and 2 A; its samples still fall on the runs.
    found = {row.metric.partition("/int8/")[2]: row.value for row in profile.measurements}
    assert found["power/mean"] == pytest.approx(10.0)
