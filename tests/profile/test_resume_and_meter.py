"""Going on with a run that broke off, a power meter's own log, and a power mode that was asked for."""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit._profile import load_profile, save_profile
from edgekit.errors import UsageError
from edgekit.profiles.probes.power_csv import read_power_csv
from tests.converted import make_bundle
from tests.profile.test_profile_local import break_worker

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def test_a_killed_run_goes_on_with_the_turns_it_had(bundle: Path, tmp_path: Path) -> None:
    breaker = threading.Thread(target=break_worker, args=(signal.SIGKILL,))
    breaker.start()
    words: Any = {"duration": "5s", "warm_up": 1}
    broken = edgekit.profile(bundle, output=tmp_path / "broken.json", **words)
    breaker.join()
    assert not broken.profile.complete
    kept = min(len(one.turns) for one in broken.profile.artifacts)
    resumed = edgekit.profile(bundle, resume=broken.file, output=tmp_path / "whole.json", **words).profile
    assert resumed.complete, resumed.problem
    for before, after in zip(broken.profile.artifacts, resumed.artifacts, strict=True):
        assert len(after.turns) == 5
        runs = sum(before.turns[:kept])
        assert after.latencies_ms[:runs] == pytest.approx(before.latencies_ms[:runs], abs=1e-6)


def test_only_the_same_broken_run_is_gone_on_with(bundle: Path, tmp_path: Path) -> None:
    whole = edgekit.profile(bundle, runs=5, warm_up=1, output=tmp_path / "whole.json")
    with pytest.raises(UsageError, match="is complete"):
        edgekit.profile(bundle, runs=5, warm_up=1, resume=whole.file)
    broken = tmp_path / "broken.json"
    save_profile(replace(load_profile(whole.file), problem="cut"), broken)
    others: Any = (({"runs": 10}, "conditions"), ({"runs": 5, "variants": "int8"}, "artifacts"))
    for words, told in others:
        with pytest.raises(UsageError, match=f"other {told}"):
            edgekit.profile(bundle, warm_up=1, resume=broken, **words)


def log_power(path: Path, stop: threading.Event) -> None:
    """A meter of 5 V and 2 A that logs twenty times a second."""
    with path.open("w") as file:
        file.write("Time,Voltage (V),Current (A)\n")
        while not stop.is_set():
            file.write(f"{time.time()},5.0,2.0\n")
            file.flush()
            time.sleep(0.05)


@pytest.fixture
def meter(tmp_path: Path) -> Iterator[Path]:
    stop = threading.Event()
    thread = threading.Thread(target=log_power, args=(tmp_path / "meter.csv", stop))
    thread.start()
    yield tmp_path / "meter.csv"
    stop.set()
    thread.join()


def test_a_meters_own_log_gives_power_and_energy(bundle: Path, meter: Path) -> None:
    profile = edgekit.profile(bundle, variants="int8", duration="2s", warm_up=1, power_csv=meter).profile
    found = {row.metric.partition("/int8/")[2]: row for row in profile.measurements}
    assert found["power/mean"].value == pytest.approx(10.0)
    assert found["energy/dynamic"].value == pytest.approx(0.0, abs=1e-9)  # it takes the same when idle
    mean_s = 2.0 / sum(profile.artifacts[0].turns)
    assert found["energy/total"].value == pytest.approx(10.0 * mean_s * 1e3, rel=0.5)


def test_power_logs_are_read_in_their_usual_forms(tmp_path: Path) -> None:
    log = tmp_path / "log.csv"
    log.write_text("timestamp,Power\n2026-11-23T00:00:01,2.5\n2026-11-23T01:00:00+01:00,1.5\n")
    start = datetime(2026, 11, 23, tzinfo=UTC).timestamp()
    assert read_power_csv(log) == [(start, 1.5), (start + 1, 2.5)]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", "headings none"),
        ("time,ohm\n1,2\n", "headings time, ohm"),
        ("time,W\n1,much\n", "line 2"),
        ("time,W\n1,nan\n", "not finite"),
        ("time,W\nyesterday,1\n", "line 2"),
        ("time,V\n1,5\n", "headings time, V"),
        ("time,W\n1\n", "line 2"),
    ],
)
def test_a_power_log_that_is_none_is_told_with_its_line(tmp_path: Path, text: str, told: str) -> None:
    (tmp_path / "log.csv").write_text(text)
    with pytest.raises(UsageError, match=told):
        read_power_csv(tmp_path / "log.csv")


@pytest.fixture
def nvpmodel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a Jetson's nvpmodel prints."""
    tool = tmp_path / "bin" / "nvpmodel"
    tool.parent.mkdir()
    tool.write_text(f"#!{sys.executable}\nprint('NV Power Mode: 15W')\nprint(0)\n")
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tool.parent}{os.pathsep}{os.environ['PATH']}")


@pytest.mark.usefixtures("nvpmodel")
def test_another_power_mode_than_asked_for_is_not_measured_in(bundle: Path, tmp_path: Path) -> None:
    words: Any = {"variants": "int8", "runs": 5, "warm_up": 1, "output": tmp_path / "p.json"}
    refused = edgekit.profile(bundle, power_mode="MAXN", **words).profile
    assert "the power mode is '15W', not 'MAXN'" in refused.problem
    assert not refused.measurements
    kept = edgekit.profile(bundle, power_mode="15W", **words).profile
    assert kept.complete
    assert kept.facts["power_mode"] == "15W"
