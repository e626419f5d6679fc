"""edgekit profile for a Jetson bundle: its own scripts run for real, trtexec replaced by a stand-in."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

import edgekit
from tests.targets.test_tensorrt_device import FAKE, Board

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


def test_this_machine_is_no_jetson_and_the_profile_says_so(board: Board) -> None:
    profile = edgekit.profile(board.bundle).profile
    assert profile.matches is False
    assert any("is not a NVIDIA Jetson Orin Nano 8GB" in note for note in profile.notes)


def test_a_script_of_the_bundle_itself_is_never_run(board: Board, tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    before = (board.bundle / "device" / "main.py").read_bytes()
    assert b"ran" not in before[:10]
    profile = edgekit.profile(board.bundle, keep=str(tmp_path / "kept")).profile
    sent = (tmp_path / "kept" / "device" / "main.py").read_bytes()
    assert profile.complete
    assert sent == before  # the installed edgekit's own, byte for byte
    assert not marker.exists()


def test_a_failing_tool_ends_the_run_with_its_status(board: Board, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FAKE_FAIL", "no memory left")
    result = edgekit.profile(board.bundle)
    assert not result.passed
    assert "failed with status 1" in result.profile.problem
