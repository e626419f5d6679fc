"""edgekit verify --on qemu-arm64: the runtimes' real aarch64 wheels, under qemu-user, on this host."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

import edgekit
from edgekit import _arm64_session
from edgekit._arm64_session import Arm64, find_arm64
from edgekit._cache import default_root
from edgekit._verify import Golden, GoldenSample
from edgekit._verify_on import check_same, compare_runs
from edgekit.errors import CannotRunHere, MissingToolError
from tests.converted import make_bundle, run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

SETUP = Path(__file__).parents[1] / "scripts" / "qemu-arm64"
AARCH64 = 183  # EM_AARCH64 of the ELF format


@pytest.fixture(scope="module")
def arm64() -> Arm64:
    """Set up by the script that users run; at once where it has run before."""
    folder = default_root() / "qemu-arm64"
    subprocess.run([SETUP, folder], env={**os.environ, "PYTHON": sys.executable}, check=True, timeout=600)
    return find_arm64(folder)


@pytest.mark.parametrize("target", ["ort-mobile", "litert"])
def test_the_aarch64_wheel_gives_the_hosts_int8_numbers(target: str, arm64: Arm64, tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path, target)
    result = run("verify", bundle, "--on", "qemu-arm64", "--json")
    assert result.exit_code == 0, result.output
    answer = json.loads(result.stdout)
    assert answer["passed"] is True
    for parity in answer["proof"]["parities"]:
        assert (parity["status"], parity["samples"], parity["gate_failures"]) == ("proven", 4, [])
        assert f"aarch64 wheel itself, under qemu-user {arm64.version}" in parity["reason"]
        assert float(parity["reason"].rpartition(" ")[2]) <= 1e-4


def test_what_runs_is_built_for_aarch64(arm64: Arm64) -> None:
    libraries = [*arm64.site.rglob("onnxruntime_pybind11_state*.so"), *arm64.site.rglob("_pywrap_*.so")]
    assert len(libraries) > 1
    for path in [*libraries, arm64.root / "usr/bin/python3.11"]:
        header = path.read_bytes()[:20]
        assert header[:4] == b"\x7fELF"
        assert int.from_bytes(header[18:20], "little") == AARCH64, path


class Shifted:
    """A session whose one output is off by so much."""

    def __init__(self, by: float) -> None:
        self.by = np.float32(by)

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        del taps
        return {"y": feeds["x"] + self.by}


@pytest.mark.parametrize(("by", "lines"), [(0, 0), (9e-5, 0), (1.1e-4, 1), (np.nan, 1)])
def test_a_run_further_from_the_hosts_than_1e_4_fails(by: float, lines: int) -> None:
    feeds = {"x": np.zeros((1, 3), np.float32)}
    golden = Golden("model", "random", (GoldenSample(feeds, feeds, None),))
    told = check_same(compare_runs(Shifted(by), Shifted(0), golden))
    assert len(told) == lines
    assert all("output 'y'" in line for line in told)


def test_nothing_set_up_and_an_old_qemu_are_told_with_the_command(tmp_path: Path) -> None:
    with pytest.raises(MissingToolError, match="no ARM64 system is set up") as caught:
        find_arm64(tmp_path)
    assert f"setup_qemu_arm64.sh {tmp_path}" in str(caught.value)
    program = tmp_path / "qemu" / "usr" / "bin" / "qemu-aarch64"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho qemu-aarch64 version 7.2.19 '(Debian 1:7.2+dfsg-7)'\n")
    program.chmod(0o755)
    with pytest.raises(MissingToolError, match=r"qemu-user 7\.2\.19 is too old: before 10\.0"):
        find_arm64(tmp_path)


def test_wheels_that_are_not_there_or_of_another_version_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_arm64_session, "version", lambda _: "1.5")
    for name in ("some_runtime-1.4", "numpy-2.0"):
        (tmp_path / "site" / f"{name}.dist-info").mkdir(parents=True)
    there = Arm64(tmp_path, tmp_path, tmp_path / "site", "10.0")
    with pytest.raises(CannotRunHere, match="coremltools is not among the aarch64 wheels"):
        there.refuse_other_wheels('python3 -m pip install "coremltools>=9.0"')
    with pytest.raises(MissingToolError, match=r"some-runtime 1\.4, and this host runs 1\.5"):
        there.refuse_other_wheels("pip install some-runtime numpy")
    there.refuse_other_wheels("pip install numpy")


def test_a_setup_without_edgekits_python_says_so(tmp_path: Path) -> None:
    bare = tmp_path / "python"
    bare.write_text("#!/bin/sh\nexit 1\n")
    bare.chmod(0o755)
    done = subprocess.run(
        [SETUP, tmp_path / "out"],
        env={**os.environ, "PYTHON": str(bare)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert "name edgekit's own Python in PYTHON" in done.stderr
    assert not (tmp_path / "out").exists()


def test_another_place_and_own_samples_are_wrong_usage(tmp_path: Path) -> None:
    bundle = make_bundle(tmp_path)
    place = run("verify", bundle, "--on", "qemu-mips")
    assert (place.exit_code, "use one of: qemu-arm64" in place.stderr) == (2, True)
    samples = run("verify", bundle, "--on", "qemu-arm64", "--samples", tmp_path / "data")
    assert (samples.exit_code, "leave --samples out" in samples.stderr) == (2, True)


def test_a_target_without_an_arm_runtime_stays_unproven(arm64: Arm64, tmp_path: Path) -> None:
    del arm64
    proof = edgekit.verify(make_bundle(tmp_path, "jetson-orin-nano-8gb"), "qemu-arm64")
    assert not proof.passed
    assert {parity.status for parity in proof.parities} == {"unproven"}
