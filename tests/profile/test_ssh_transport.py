"""The ssh transport against a real sshd on loopback, and what happens when it fails."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

import edgekit
from edgekit.errors import UsageError
from edgekit.profiles.probes.ssh import CONFIG, SshTransport
from edgekit.profiles.probes.streams import run_to_end
from edgekit.profiles.probes.transport import DeviceError
from tests.converted import make_bundle
from tests.profile.sshd import SSHD, Sshd, start_sshd

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(not Path(SSHD).exists(), reason="sshd is not installed (openssh-server)")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    running = start_sshd(tmp_path_factory.mktemp("sshd"))
    yield running
    running.stop()


@pytest.fixture
def transport(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> Iterator[SshTransport]:
    monkeypatch.setenv(CONFIG, str(server.config))
    opened = SshTransport(server.place.removeprefix("ssh://"))
    opened.open()
    yield opened
    opened.close()


def ask(transport: SshTransport, *command: str) -> str:
    stream = transport.start(command)
    code, output, errors = run_to_end(stream, patience_s=20)
    assert code == 0, errors
    return output.decode()


@pytest.mark.parametrize(
    "word",
    ["a b", "$(touch /tmp/pwned)", "`id`", "'", '"', ";ls", "\\", "*", "a\nb", "-n", "é", "!x", "~", ""],
)
def test_every_word_reaches_the_program_as_it_is(transport: SshTransport, word: str) -> None:
    assert ask(transport, "python3", "-c", "import sys; print(repr(sys.argv[1]))", word).strip() == repr(word)


def test_files_come_whole_and_only_what_changed_is_sent(transport: SshTransport, tmp_path: Path) -> None:
    for name in ("one", "two"):
        (tmp_path / name).write_bytes(os.urandom(1000))
    files = {"deep/er/one": tmp_path / "one", "two": tmp_path / "two"}
    assert transport.push(files) == 2000
    assert transport.push(files) == 0
    (tmp_path / "two").write_bytes(os.urandom(700))
    assert transport.push(files) == 700
    transport.pull("deep/er/one", tmp_path / "back", most=1000)
    assert (tmp_path / "back").read_bytes() == (tmp_path / "one").read_bytes()


def test_no_link_and_nothing_too_large_is_pulled(transport: SshTransport, tmp_path: Path) -> None:
    ask(transport, "sh", "-c", "ln -s /etc/passwd link; head -c 2000 /dev/zero > big")
    with pytest.raises(DeviceError, match="cannot read 'link'"):
        transport.pull("link", tmp_path / "x", most=10_000)
    with pytest.raises(DeviceError, match="larger than 1000 bytes"):
        transport.pull("big", tmp_path / "x", most=1000)


def test_the_folder_is_private_and_goes_away(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    opened = SshTransport(server.place.removeprefix("ssh://"))
    opened.open()
    folder = Path(ask(opened, "pwd").strip())
    assert folder.stat().st_mode & 0o777 == 0o700
    opened.close()
    assert not folder.exists()


def test_what_still_runs_there_ends_with_the_folder(server: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    opened = SshTransport(server.place.removeprefix("ssh://"))
    opened.open()
    # As the runner does: it leads a process group whose number it leaves in the folder.
    script = "mkdir .edgekit; set -- $(cat /proc/$$/stat); echo $5 >.edgekit/pid; sleep 300 & echo $!; wait"
    running = opened.start(["sh", "-c", script])
    sleeper = Path(f"/proc/{int(running.read_line(20) or b'0')}/stat")
    opened.close()
    running.stop()
    for _ in range(50):
        if not sleeper.exists() or sleeper.read_text().rpartition(")")[2].split()[0] == "Z":
            return
        time.sleep(0.1)
    pytest.fail("what was started there runs on")


def test_an_unknown_host_key_is_refused(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = server.config.read_text().replace(f"{server.folder}/known_hosts", "/dev/null")
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv(CONFIG, str(tmp_path / "config"))
    with pytest.raises(DeviceError, match="accept it"):
        SshTransport(server.place.removeprefix("ssh://")).open()


def test_a_changed_host_key_is_refused(server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = (server.folder / "user_key.pub").read_text()
    (tmp_path / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {other}")
    text = server.config.read_text().replace(
        str(server.folder / "known_hosts"), str(tmp_path / "known_hosts")
    )
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv(CONFIG, str(tmp_path / "config"))
    with pytest.raises(DeviceError, match=r"Host key|HOST IDENTIFICATION|host key"):
        SshTransport(server.place.removeprefix("ssh://")).open()


def test_a_wrong_key_is_told_with_the_way_out(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "user_key"], check=True)
    text = server.config.read_text().replace(f"{server.folder}/user_key", f"{tmp_path}/user_key")
    (tmp_path / "config").write_text(text)
    monkeypatch.setenv(CONFIG, str(tmp_path / "config"))
    with pytest.raises(DeviceError, match="ssh-copy-id"):
        SshTransport(server.place.removeprefix("ssh://")).open()


def test_a_closed_port_is_told(monkeypatch: pytest.MonkeyPatch, server: Sshd) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    with pytest.raises(DeviceError, match="start sshd there"):
        SshTransport("127.0.0.1:1").open()


@pytest.mark.parametrize(
    "address", ["", "-oProxyCommand=x", "a b", "host:0", "host:70000", "u@-h", "h;ls", "h/x"]
)
def test_an_address_that_is_none_is_wrong_usage(address: str) -> None:
    with pytest.raises(UsageError):
        SshTransport(address)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_bundle(tmp_path_factory.mktemp("made"))


def test_a_bundle_is_profiled_over_ssh_and_nothing_stays(
    server: Sshd, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    before = set(Path("/tmp").glob("tmp.*"))
    result = edgekit.profile(bundle, server.place, runs=10, warm_up=1, python=sys.executable)
    assert result.profile.complete, result.profile.problem
    assert result.profile.place == server.place
    assert {artifact.variant for artifact in result.profile.artifacts} == {"int8", "fp32"}
    assert set(Path("/tmp").glob("tmp.*")) <= before


def cut_connections(server: Sshd, after_s: float) -> None:
    time.sleep(after_s)
    for pid in server.sessions():
        os.kill(pid, signal.SIGKILL)


def test_a_dropped_connection_ends_the_run_with_what_was_heard_and_the_device_tidies_up(
    server: Sshd, bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(CONFIG, str(server.config))
    before = set(Path("/tmp").glob("tmp.*"))
    cutter = threading.Thread(target=cut_connections, args=(server, 6.0))
    cutter.start()
    result = edgekit.profile(bundle, server.place, python=sys.executable, duration="20s", warm_up=1)
    cutter.join()
    assert not result.passed
    assert "the runner ended early" in result.profile.problem
    assert result.profile.facts["machine"]
    for _ in range(100):
        if set(Path("/tmp").glob("tmp.*")) <= before:
            return
        time.sleep(0.2)
    pytest.fail("the device's folder stays behind")


def test_a_full_disk_on_the_device_is_told(
    server: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    small = tmp_path / "small"
    small.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(small)]
    if subprocess.run(command, capture_output=True, check=False).returncode != 0:
        pytest.skip("a tmpfs can be mounted only by root, on a device that allows it")
    try:
        monkeypatch.setenv(CONFIG, str(server.config))
        opened = SshTransport(server.place.removeprefix("ssh://"), keep=str(small / "run"))
        opened.open()
        (tmp_path / "big").write_bytes(bytes(1 << 20))
        with pytest.raises(DeviceError, match="make room there"):
            opened.push({"big": tmp_path / "big"})
        opened.close()
    finally:
        subprocess.run(["umount", str(small)], check=True)
        shutil.rmtree(small)
