"""The transport `ssh://user@host[:port]`: the system's ssh, with its config, keys and known hosts."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
import tarfile
import tempfile
from contextlib import suppress
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.profiles.probes.streams import Stream, run_to_end
from edgekit.profiles.probes.transport import BOOT, DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit.profiles.probes.transport import Running

#: Another configuration file than ~/.ssh/config, as `ssh -F` takes it.
CONFIG = "EDGEKIT_SSH_CONFIG"
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_ADDRESS = re.compile(rf"(?:({_NAME})@)?({_NAME}|\[[0-9A-Fa-f:.]+\])(?::([0-9]{{1,5}}))?")
_EXAMPLE = "write --on ssh://user@host[:port]"
_PATIENCE_S = 60.0
_COPY_S = 3600.0
_CONNECTION_FAILED = 255
_MAKE_ROOM = "make room there; `df -h /tmp` shows how much is left"
_OPEN = """set -e; umask 077
if [ -n "$1" ]; then mkdir -p -- "$1"; cd -- "$1"; else cd "$(mktemp -d)"; fi
pwd"""
_END = """if [ -f .edgekit/pid ]; then kill -KILL "-$(cat .edgekit/pid)"; fi
cd / && rm -rf -- "$1"
"""
# What ssh, sh or tar say -> the way out.
_WAYS_OUT = {
    "Host key verification failed": "connect once by hand (ssh HOST), compare the host key, and accept it",
    "REMOTE HOST IDENTIFICATION HAS CHANGED": "the host key is not the known one: find out why first",
    "Permission denied": "put your key there (ssh-copy-id HOST) or load it into ssh-agent",
    "Could not resolve hostname": "mend the host name, or name it in ~/.ssh/config",
    "Connection refused": "start sshd there, or name its port: ssh://user@host:port",
    "timed out": "see that the device is up and reachable",
    "No space left on device": _MAKE_ROOM,
    "Wrote only": _MAKE_ROOM,  # tar's words for a disk that filled up in the middle of a file
    "Disk quota exceeded": _MAKE_ROOM,
}


class SshTransport:
    """One shared connection; commands reach the device's shell quoted, word by word."""

    def __init__(self, address: str, *, keep: str = "") -> None:
        match = _ADDRESS.fullmatch(address)
        if match is None or not 0 < int(match[3] or "22") < 1 << 16:
            raise UsageError(f"'ssh://{address}' is no user, host and port", fix=_EXAMPLE)
        self._user, self._host, self._port = match[1], match[2].strip("[]"), match[3]
        self.label = f"ssh://{address}"
        self._keep = keep
        self._folder = ""
        self._control: tempfile.TemporaryDirectory[str] | None = None

    def open(self) -> None:
        """Connect and make a folder of mode 700 there; DeviceError tells what ssh said and the way out."""
        self._control = tempfile.TemporaryDirectory(prefix="edgekit-ssh-")
        try:
            folder = self.ask(["sh", "-c", _OPEN, "sh", self._keep]).decode().strip()
        except BaseException:
            self.close()
            raise
        if not folder.startswith("/") or not folder.isprintable() or "\n" in folder:
            self.close()
            raise DeviceError(
                f"{self.label}: its shell prints {folder[:80]!r} beside the answer",
                fix="let its profile scripts print nothing for a shell that is not interactive",
            )
        self._folder = folder

    def push(self, files: Mapping[str, Path]) -> int:
        """Send as one tar stream what is not there already with the same sha256; the bytes sent."""
        there = self._digests(list(files))
        new = {name: path for name, path in files.items() if there.get(name) != _sha256(path)}
        if not new:
            return 0
        with tempfile.TemporaryFile() as archive:
            with tarfile.open(fileobj=archive, mode="w", format=tarfile.GNU_FORMAT) as tar:
                for name, path in new.items():
                    with path.open("rb") as file:
                        tar.addfile(_entry(tar, name, path), file)
            archive.seek(0)
            done = subprocess.run(
                self._command(["tar", "-xf", "-"], inside=self._folder),
                stdin=archive,
                capture_output=True,
                timeout=_COPY_S,
                check=False,
            )
        if done.returncode != 0:
            raise self._failure(done.returncode, done.stderr.decode("utf-8", "replace"), "copy files")
        return sum(path.stat().st_size for path in new.values())

    def pull(self, name: str, to: Path, most: int) -> None:
        """One file's bytes, at most `most`."""
        script = 'test -f "$1" && ! test -h "$1" && head -c "$2" -- "$1"'
        command = self._command(["sh", "-c", script, "sh", name, str(most + 1)], inside=self._folder)
        with to.open("wb") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, timeout=_COPY_S, check=False)
        if done.returncode != 0:
            raise self._failure(done.returncode, done.stderr.decode("utf-8", "replace"), f"read '{name}'")
        if to.stat().st_size > most:
            raise DeviceError(f"{self.label}: '{name}' is larger than {most} bytes", fix="run it again")

    def start(self, command: Sequence[str]) -> Running:
        """Run a command in the folder."""
        return Stream(self._command(command, inside=self._folder), label=self.label)

    def boot(self) -> str:
        """Linux' boot id, or macOS' boot session; connects again where the connection is gone."""
        return self.ask(["sh", "-c", BOOT]).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End what still runs there, remove the folder unless it is kept, and hang up."""
        if self._folder and not self._keep:
            with suppress(DeviceError):
                self.ask(["sh", "-c", _END, "sh", self._folder], inside=self._folder)
        if self._control is not None:
            command = ["ssh", *self._options(), "-O", "exit", self._host]
            subprocess.run(command, capture_output=True, timeout=_PATIENCE_S, check=False)
            self._control.cleanup()
        self._folder, self._control = "", None

    def _digests(self, names: list[str]) -> dict[str, str]:
        """sha256 by name of those files that are in the folder already."""
        answer = self.ask(
            ["sh", "-c", 'sha256sum -- "$@" 2>/dev/null; true', "sh", *names], inside=self._folder
        )
        rows = [line.split(maxsplit=1) for line in answer.decode("utf-8", "replace").splitlines()]
        return {row[1].removeprefix("*"): row[0] for row in rows if len(row) == 2}

    def ask(self, command: Sequence[str], inside: str = "") -> bytes:
        """stdout of a short command; DeviceError where it fails."""
        stream = Stream(self._command(command, inside=inside), label=self.label)
        try:
            code, output, errors = run_to_end(stream, patience_s=_PATIENCE_S, most=1 << 20)
        finally:
            stream.stop()
        if code != 0:
            raise self._failure(code, errors, "reach the device")
        return output

    def _command(self, command: Sequence[str], inside: str) -> list[str]:
        """The ssh call; the device's login shell, whichever it is, gets one single-quoted script for sh."""
        script = f"exec {shlex.join(command)}"
        if inside:
            script = f"cd -- {shlex.quote(inside)} && {script}"
        return ["ssh", *self._options(), self._host, f"exec sh -c {shlex.quote(script)}"]

    def _options(self) -> list[str]:
        control = self._control.name if self._control else ""
        settings = {
            "BatchMode": "yes",  # never asks, so never hangs at a question nobody sees
            "ConnectTimeout": "15",
            "ServerAliveInterval": "5",
            "ServerAliveCountMax": "3",
            "ControlMaster": "auto",
            "ControlPath": f"{control}/%C",
            "ControlPersist": "60",
        }
        options = [word for name, value in settings.items() for word in ("-o", f"{name}={value}")]
        config = os.environ.get(CONFIG)
        options += ["-F", config] if config else []
        options += ["-l", self._user] if self._user else []
        options += ["-p", self._port] if self._port else []
        return [*options, "-T"]

    def _failure(self, code: int, errors: str, doing: str) -> DeviceError:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        known = [(line, way) for line in lines for sign, way in _WAYS_OUT.items() if sign in line]
        hint = f"see what `ssh {self._host}` says" if code == _CONNECTION_FAILED else "try it there by hand"
        said, fix = known[0] if known else (lines[-1] if lines else f"status {code}", hint)
        return DeviceError(f"{self.label}: cannot {doing}: {said[:300]}", fix=fix)


def _entry(tar: tarfile.TarFile, name: str, path: Path) -> tarfile.TarInfo:
    entry = tar.gettarinfo(str(path), arcname=name)
    entry.uid = entry.gid = 0
    entry.uname = entry.gname = ""
    entry.type = tarfile.REGTYPE
    return entry


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
