"""The adb transport: Debian's adb client against a real adbd, and what it refuses without a device."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.profiles.probes.adb import FOLDER, AdbTransport
from edgekit.profiles.probes.streams import run_to_end
from edgekit.profiles.probes.transport import DeviceError
from tests.converted import make_bundle
from tests.profile.adbd import SERIAL, Adbd, start_adbd

if TYPE_CHECKING:
    from collections.abc import Iterator


@pytest.fixture(scope="module")
def device(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Adbd]:
    running = start_adbd(tmp_path_factory.mktemp("adbd"))
    yield running
    running.stop()


@pytest.fixture
def place(device: Adbd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder that stands for Android's /data/local/tmp; the adb client finds the device."""
    device.connect()
    for name, value in device.environment.items():
        monkeypatch.setenv(name, value)
    folder = tmp_path / "local" / "tmp"
    folder.mkdir(parents=True)
    monkeypatch.setenv(FOLDER, str(folder))
    return folder


@pytest.fixture
def transport(place: Path) -> Iterator[AdbTransport]:
    opened = AdbTransport(SERIAL)
    opened.open()
    yield opened
    opened.close()
    assert not list(place.iterdir()), "the device's folder stays behind"


@pytest.mark.usefixtures("place")
def test_the_tests_own_adbd_listens_nowhere_outside_its_namespace() -> None:
    for family in ("inet", "inet6", "vsock"):
        command = ["ss", "-Hln", "-f", family]
        assert ":5555 " not in subprocess.run(command, capture_output=True, text=True, check=True).stdout


def ask(transport: AdbTransport, *command: str) -> str:
    stream = transport.start(command)
    code, output, errors = run_to_end(stream, patience_s=20)
    assert code == 0, errors
    return output.decode()


@pytest.mark.parametrize(
    "word",
    ["a b", "$(touch /tmp/pwned)", "`id`", "'", '"', ";ls", "\\", "*", "a\nb", "-n", "é", "!x", "~", ""],
)
def test_every_word_reaches_the_program_as_it_is(transport: AdbTransport, word: str) -> None:
    assert ask(transport, "python3", "-c", "import sys; print(repr(sys.argv[1]))", word).strip() == repr(word)


def test_files_come_whole_and_only_what_changed_is_sent(transport: AdbTransport, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(os.urandom(70_000))
    files = {"deep/er/one": tmp_path / "one", "two": tmp_path / "two"}
    assert transport.push(files) == 140_000
    assert transport.push(files) == 0
    (tmp_path / "two").write_bytes(os.urandom(700))
    assert transport.push(files) == 700
    transport.pull("deep/er/one", tmp_path / "back", most=70_000)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "one").read_bytes()


def test_no_link_and_nothing_too_large_is_pulled(transport: AdbTransport, tmp_path: Path) -> None:
    ask(transport, "sh", "-c", "ln -s /etc/passwd link; head -c 2000 /dev/zero > big")
    with pytest.raises(DeviceError, match="cannot read 'link'"):
        transport.pull("link", tmp_path / "x", most=10_000)
    with pytest.raises(DeviceError, match="larger than 1000 bytes"):
        transport.pull("big", tmp_path / "x", most=1000)


def test_exit_status_and_errors_come_back(transport: AdbTransport) -> None:
    running = transport.start(["sh", "-c", "echo out; echo err >&2; exit 7"])
    assert running.read_line(20) == b"out"
    assert running.read_line(20) is None
    assert running.finish() == (7, "err")


def test_the_folder_is_private_and_what_runs_in_it_ends_with_it(place: Path) -> None:
    opened = AdbTransport(SERIAL)
    opened.open()
    folder = Path(ask(opened, "pwd").strip())
    assert folder.parent == place
    assert folder.stat().st_mode & 0o777 == 0o700
    running = opened.start(["sh", "-c", "sleep 300 & echo $!; wait"])
    sleeper = Path(f"/proc/{int(running.read_line(20) or b'0')}")
    assert sleeper.exists()
    opened.close()
    running.stop()
    assert not folder.exists()
    assert is_gone(sleeper)


def is_gone(process: Path) -> bool:
    """Whether it ended, within a moment; one that its parent has not asked after counts."""
    for _ in range(50):
        try:
            if (process / "stat").read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except OSError:
            return True
        time.sleep(0.1)
    return False


def test_a_kept_folder_stays(place: Path) -> None:
    opened = AdbTransport(SERIAL, keep=str(place / "kept"))
    opened.open()
    ask(opened, "touch", "here")
    opened.close()
    assert [path.name for path in (place / "kept").iterdir()] == ["here"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def test_a_bundle_is_profiled_over_adb_and_nothing_stays(place: Path, bundle: Path) -> None:
    words = {"runs": 10, "warm_up": 1, "idle": "100ms", "python": sys.executable}
    result = edgekit.profile(bundle, f"adb://{SERIAL}", **words)  # type: ignore[arg-type]
    assert result.profile.complete, result.profile.problem
    assert result.profile.place == f"adb://{SERIAL}"
    assert {artifact.variant for artifact in result.profile.artifacts} == {"int8", "fp32"}
    assert all(artifact.parity for artifact in result.profile.artifacts)
    assert not list(place.iterdir())


def test_a_pulled_cable_ends_the_run_with_what_was_heard_and_the_device_tidies_up(
    device: Adbd, place: Path, bundle: Path
) -> None:
    cutter = threading.Timer(6.0, device.drop)
    cutter.start()
    words = {"duration": "20s", "warm_up": 1, "python": sys.executable, "patience": "15s"}
    result = edgekit.profile(bundle, f"adb://{SERIAL}", **words)  # type: ignore[arg-type]
    cutter.join()
    assert not result.passed
    assert result.profile.problem
    assert result.profile.facts["machine"]
    for _ in range(100):
        if not list(place.iterdir()):
            return
        time.sleep(0.2)
    pytest.fail("the device's folder stays behind")


def test_a_full_disk_on_the_device_is_told(place: Path, tmp_path: Path) -> None:
    small = place / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)], check=True)
    try:
        opened = AdbTransport(SERIAL, keep=str(small / "run"))
        opened.open()
        (tmp_path / "big").write_bytes(os.urandom(1 << 20))
        with pytest.raises(DeviceError, match="make room there"):
            opened.push({"big": tmp_path / "big"})
        opened.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)


def test_a_serial_that_is_not_there_is_told(device: Adbd, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in device.environment.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(DeviceError, match="`adb devices` lists"):
        AdbTransport("R3CN30ABCDE").open()


def test_a_missing_adb_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "/nonexistent")
    with pytest.raises(DeviceError, match="'adb' does not start"):
        AdbTransport("x").open()


@pytest.mark.parametrize("serial", ["", "-s", "a b", "$(id)", "a;b", "a\nb"])
def test_a_serial_with_other_characters_is_refused(serial: str) -> None:
    with pytest.raises(UsageError, match="no serial"):
        AdbTransport(serial)
