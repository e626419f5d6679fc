"""A real OpenSSH server on loopback, with a host key, user key and client config of the test's own."""

from __future__ import annotations

import getpass
import os
import shutil
import signal
import socket
import subprocess
import time
import uuid
from dataclasses import dataclass
from pathlib import Path

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"


@dataclass
class Sshd:
    """The running server; `config` is what `ssh -F` takes, `place` what `--on` takes."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes]

    @property
    def boot_id(self) -> Path:
        """What the server's sessions read as the kernel's boot id, where it was started so."""
        return self.folder / "boot_id"

    def reboot(self, away_s: float) -> None:
        """As a power cut does: all that runs there ends, the files stay, and the next boot has another id."""
        for pid in [*self.descendants(), self.process.pid]:
            os.kill(pid, signal.SIGKILL)
        self.process.wait(10)
        self.boot_id.write_text(f"{uuid.uuid4()}\n")
        time.sleep(away_s)
        self.process = launch(self.folder)
        _wait(self.port)

    def descendants(self) -> list[int]:
        found = self.sessions()
        for pid in found:
            found += [child for child in _children_of(pid) if child not in found]
        return found

    @property
    def config(self) -> Path:
        return self.folder / "ssh_config"

    @property
    def place(self) -> str:
        return f"ssh://{getpass.getuser()}@127.0.0.1:{self.port}"

    def sessions(self) -> list[int]:
        """The pids of the server's own children: one a connection."""
        return _children_of(self.process.pid)

    def stop(self) -> None:
        for pid in self.sessions():
            os.kill(pid, 15)
        self.process.terminate()
        self.process.wait(10)


def _children_of(parent: int) -> list[int]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                fields = (entry / "stat").read_text().rpartition(")")[2].split()
            except OSError:
                continue
            if int(fields[1]) == parent:
                found.append(int(entry.name))
    return found


# $1: the folder; its boot id, where there is one, covers the kernel's in a mount namespace of sshd's own.
_LAUNCH = """if [ -f "$1/boot_id" ]; then
    mount --bind "$1/boot_id" /proc/sys/kernel/random/boot_id || exit 1
fi
exec "$2" -D -e -f "$1/sshd_config" """


def launch(folder: Path) -> subprocess.Popen[bytes]:
    apart = ["unshare", "--mount"] if (folder / "boot_id").exists() else []
    command = [*apart, "sh", "-c", _LAUNCH, "sh", str(folder), SSHD]
    return subprocess.Popen(command, stderr=subprocess.DEVNULL)


def start_sshd(folder: Path, boot_id: str = "", path: str = "") -> Sshd:
    """Serve 127.0.0.1 on a free port; no password, no PAM. Root may choose the boot id that it reads.

    path: what its sessions find programs by.
    """
    if boot_id:
        (folder / "boot_id").write_text(f"{boot_id}\n")
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", folder / name], check=True)
    shutil.copy(folder / "user_key.pub", folder / "authorized_keys")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (folder / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1\nPort {port}\nHostKey {folder}/host_key\nPidFile none\n"
        f"AuthorizedKeysFile {folder}/authorized_keys\nStrictModes no\nUsePAM no\n"
        + (f"SetEnv PATH={path}\n" if path else "")
        + "PasswordAuthentication no\nKbdInteractiveAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    host = (folder / "host_key.pub").read_text()
    (folder / "known_hosts").write_text(f"[127.0.0.1]:{port} {host}")
    (folder / "ssh_config").write_text(
        f"IdentityFile {folder}/user_key\nIdentitiesOnly yes\nUserKnownHostsFile {folder}/known_hosts\n"
        "GlobalKnownHostsFile /dev/null\nStrictHostKeyChecking yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(exist_ok=True)
    server = Sshd(folder, port, launch(folder))
    _wait(port)
    return server


def _wait(port: int) -> None:
    for _ in range(100):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise TimeoutError(f"sshd does not listen on {port}")
