"""edgekit profile for a Jetson bundle: its own scripts run for real, trtexec replaced by a stand-in."""

from __future__ import annotations

import hashlib
import json
import os
from typing import TYPE_CHECKING, Any

import pytest

import edgekit
from edgekit.errors import UsageError
from tests.profile.test_energy import NANO_6
from tests.targets.test_tensorrt_device import FAKE, Board
from tests.test_bundle_hostile import forge

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Board:
    made = Board(tmp_path, [1, 3])
    tools = tmp_path / "tools"
    tools.mkdir()
    (tools / "trtexec").write_text(f'#!/bin/sh\nexec python3 {FAKE} "$@"\n')
    (tools / "trtexec").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tools}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("FAKE_LOG", str(tmp_path / "fake.log"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return made


def test_the_devices_own_scripts_build_compare_and_time(board: Board) -> None:
    profile = edgekit.profile(board.bundle, variants=("int8", "fp16")).profile
    assert profile.complete, profile.problem
    found = {row.metric: row for row in profile.measurements}
    for variant in ("int8", "fp16"):
        assert (found[f"model/{variant}/latency/p50"].value or 0) > 0
        assert "trtexec GPU compute time" in found[f"model/{variant}/latency/p50"].basis
    assert found["model/int8/parity/fp32/y/max_abs"].value == 0.0


def test_power_is_told_apart_by_artifact_and_layers_are_timed(
    board: Board, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tegrastats = tmp_path / "tools" / "tegrastats"
    tegrastats.write_text(f"#!/bin/sh\nwhile :; do echo '{NANO_6}'; sleep 0.05; done\n")
    tegrastats.chmod(0o755)
    monkeypatch.setenv("FAKE_SECONDS", "0.4")
    profile = edgekit.profile(board.bundle, duration="5s", soak="2s", idle="1s").profile
    assert profile.complete, profile.problem
    assert profile.conditions["length"] == "5 s of each artifact in 5 turns"
    found = {row.metric: row for row in profile.measurements}
    for variant in ("int8", "fp16"):
        assert found[f"model/{variant}/power/mean"].value == pytest.approx(4.968)
        # The stand-in's 133 kept runs lie in the 0.3 s behind its 0.5 s of warm-up, at 4.968 W.
        gross = found[f"model/{variant}/energy/total"].value
        assert gross == pytest.approx(4.968 * 300 / 133, rel=0.02)
    # Tenths of those 133: the first 13 take 3 ms, the last 1.87 to 1.99 ms.
    assert found["model/int8/soak/burst"].value == pytest.approx(3.0)
    assert found["model/int8/soak/sustained"].value == pytest.approx(1.93)
    assert [(layer.name, layer.us) for layer in profile.artifacts[0].layers] == [("mul + relu", 90.0)]


@pytest.mark.parametrize("words", [{"runs": 5}, {"threads": 2}, {"warm_up": 3}, {"accelerator": "gpu"}])
def test_an_option_that_the_scripts_do_not_heed_is_refused(board: Board, words: dict[str, Any]) -> None:
    with pytest.raises(UsageError, match="do not heed"):
        edgekit.profile(board.bundle, **words)


def test_a_variant_is_timed_once(board: Board) -> None:
    edgekit.profile(board.bundle, duration="1s")
    calls = [json.loads(line) for line in (board.root / "fake.log").read_text().splitlines()]
    timed = [call for call in calls if any(word.startswith("--exportTimes") for word in call)]
    assert len(timed) == 10  # two variants in five turns


def test_this_machine_is_no_jetson_and_the_profile_says_so(board: Board) -> None:
    profile = edgekit.profile(board.bundle).profile
    assert profile.matches is False
    assert any("is not a NVIDIA Jetson Orin Nano 8GB" in note for note in profile.notes)


def test_a_script_that_a_resealed_bundle_brings_is_never_run(board: Board, tmp_path: Path) -> None:
    marker, script = tmp_path / "ran", board.bundle / "device" / "main.py"
    hostile = f"open({str(marker)!r}, 'w').close()\n".encode()
    script.write_bytes(hostile)

    def name_it(manifest: dict[str, Any]) -> None:
        row = manifest["files"]["device/main.py"]
        row.update(size=len(hostile), sha256=hashlib.sha256(hostile).hexdigest())

    forge(board.bundle, name_it)
    profile = edgekit.profile(board.bundle, keep=str(tmp_path / "kept")).profile
    assert profile.complete, profile.problem
    assert not marker.exists()
    assert (tmp_path / "kept" / "device" / "main.py").read_bytes() != hostile


def test_a_failing_tool_ends_the_run_with_its_status(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL", "no memory left")
    result = edgekit.profile(board.bundle)
    assert not result.passed
    assert "failed with status 1" in result.profile.problem
