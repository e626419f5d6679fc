"""The transport `adb://SERIAL`: the system's adb client, to one device that its server knows."""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import subprocess
from contextlib import suppress
from pathlib import PurePosixPath
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.profiles.probes.streams import Stream, run_to_end
from edgekit.profiles.probes.transport import BOOT, DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit.profiles.probes.transport import Running

#: Another folder for runs than /data/local/tmp, the one place where Android's shell user may execute files.
FOLDER = "EDGEKIT_ADB_FOLDER"
_SERIAL = re.compile(r"[A-Za-z0-9_\[][A-Za-z0-9_.:%\[\]-]*")
_PATIENCE_S = 60.0
_COPY_S = 3600.0
_POLITE_S = 5.0
_PIDS = ".edgekit-pids"
_MAKE_ROOM = "make room there; `adb shell df -h /data` shows how much is left"
_OPEN = """set -e; umask 077
if [ -n "$1" ]; then mkdir -p -- "$1"; cd -- "$1"; else cd "$(mktemp -d "$2/edgekit.XXXXXX")"; fi
pwd"""
# adbd makes each command the leader of a session, so its pid is its group's.
_START = 'cd -- "$1" && shift && echo "$$" >>.edgekit-pids && exec "$@" </dev/null'
_END = f"""cd -- "$1" || exit 0
if [ -f {_PIDS} ]; then while read -r pid; do kill -KILL "-$pid" 2>/dev/null; done <{_PIDS}; fi
rm -f {_PIDS}
if [ "$2" = remove ]; then cd / && rm -rf -- "$1"; fi
true"""
# Sits on the device until its stdin ends: when the connection dies, nobody else is left to tidy up.
# adbd sends it SIGHUP then, which must not end it first.
_GUARD = f"trap '' HUP\ncat >/dev/null\n{_END}"
# What adb or the device says -> the way out.
_WAYS_OUT = {
    "unauthorized": "unlock the phone and allow USB debugging for this computer",
    "offline": "reconnect the cable, or run `adb reconnect offline`",
    "not found": "`adb devices` lists the serials; over the network run `adb connect HOST:PORT` first",
    "no permissions": "install the udev rules for the phone, then reconnect the cable",
    "device still": "wait until the phone has started, then run it again",
    "No space left on device": _MAKE_ROOM,
    "Permission denied": f"set {FOLDER} to a folder that the device's shell user may write",
    "closed": "reconnect the device; `adb devices` must show it as `device`",
}


class AdbTransport:
    """One device of the system's adb server; words reach its shell quoted."""

    def __init__(self, address: str, *, keep: str = "") -> None:
        if not _SERIAL.fullmatch(address):
            raise UsageError(
                f"'adb://{address}' is no serial", fix="write --on adb://SERIAL, as `adb devices` shows it"
            )
        self._serial, self.label, self._keep, self._folder = address, f"adb://{address}", keep, ""
        self._guard: subprocess.Popen[bytes] | None = None

    def open(self) -> None:
        """See that the device is ready and make a folder of mode 700 there."""
        state = self._adb("get-state").decode("utf-8", "replace").strip()
        if state != "device":
            raise self._failure(f"device {state or 'not found'}", "reach the device")
        if b"shell_v2" not in self._adb("features").split():
            raise DeviceError(
                f"{self.label}: its adbd does not tell exit statuses", fix="use Android 7 or later"
            )
        root = os.environ.get(FOLDER, "/data/local/tmp")
        folder = self._ask(_OPEN, self._keep, root).decode("utf-8", "replace").strip()
        if not folder.startswith("/") or not folder.isprintable():
            raise DeviceError(
                f"{self.label}: its shell prints {folder[:80]!r} beside the answer",
                fix="see what `adb shell pwd` prints there",
            )
        self._folder = folder
        self._guard = subprocess.Popen(
            self._shell(_GUARD, folder, self._kept),
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )

    @property
    def _kept(self) -> str:
        return "keep" if self._keep else "remove"

    def push(self, files: Mapping[str, Path]) -> int:
        """Send what is not there already with the same sha256; the bytes sent."""
        there = self._digests(list(files))
        new = {name: path for name, path in files.items() if there.get(name) != _sha256(path)}
        folders = sorted({str(PurePosixPath(self._folder, name).parent) for name in new})
        if folders:
            self._ask('mkdir -p -- "$@"', *folders)
        for name, path in new.items():
            self._adb("push", str(path.resolve()), f"{self._folder}/{name}", patience_s=_COPY_S)
        return sum(path.stat().st_size for path in new.values())

    def pull(self, name: str, to: Path, most: int) -> None:
        """One file's bytes, at most `most`."""
        script = 'cd -- "$1" && test -f "$2" && ! test -h "$2" && head -c "$3" -- "$2"'
        command = self._shell(script, self._folder, name, str(most + 1))
        with to.open("wb") as file:
            done = subprocess.run(command, stdout=file, stderr=subprocess.PIPE, timeout=_COPY_S, check=False)
        if done.returncode != 0:
            raise self._failure(done.stderr.decode("utf-8", "replace"), f"read '{name}'")
        if to.stat().st_size > most:
            raise DeviceError(f"{self.label}: '{name}' is larger than {most} bytes", fix="run it again")

    def start(self, command: Sequence[str]) -> Running:
        """Run a command in the folder, in a process group that `close` ends."""
        return Stream(self._shell(_START, self._folder, *command), label=self.label)

    def boot(self) -> str:
        """Linux' boot id; a device on the network is connected again first."""
        if ":" in self._serial:
            self._finish(["adb", "connect", self._serial], _PATIENCE_S)
        return self._ask(BOOT).decode("utf-8", "replace").strip()

    def close(self) -> None:
        """End what still runs there and remove the folder unless it is kept."""
        if self._folder:
            with suppress(DeviceError, OSError):
                self._ask(_END, self._folder, self._kept)
        if self._guard is not None:
            self._dismiss(self._guard)
        self._folder, self._guard = "", None

    def _dismiss(self, guard: subprocess.Popen[bytes]) -> None:
        with suppress(OSError, subprocess.TimeoutExpired):
            guard.communicate(timeout=_POLITE_S)
        guard.kill()
        guard.wait()

    def _digests(self, names: list[str]) -> dict[str, str]:
        """sha256 by name of those files that are in the folder already."""
        answer = self._ask('cd -- "$1" && shift && sha256sum -- "$@" 2>/dev/null; true', self._folder, *names)
        rows = [line.split(maxsplit=1) for line in answer.decode("utf-8", "replace").splitlines()]
        return {row[1].removeprefix("*"): row[0] for row in rows if len(row) == 2}

    def _shell(self, script: str, *words: str) -> list[str]:
        """The adb call; the device's shell gets one line, in which every word is single-quoted."""
        line = f"exec {shlex.join(['sh', '-c', script, 'sh', *words])}"
        return ["adb", "-s", self._serial, "shell", "-T", line]

    def _ask(self, script: str, *words: str) -> bytes:
        return self._finish(self._shell(script, *words), _PATIENCE_S)

    def _adb(self, *words: str, patience_s: float = _PATIENCE_S) -> bytes:
        return self._finish(["adb", "-s", self._serial, *words], patience_s)

    def _finish(self, command: list[str], patience_s: float) -> bytes:
        """stdout of a command that ends; DeviceError where it fails."""
        stream = Stream(command, label=self.label)
        try:
            code, output, errors = run_to_end(stream, patience_s=patience_s, most=1 << 20)
        finally:
            stream.stop()
        if code != 0:
            raise self._failure(errors or output.decode("utf-8", "replace"), "reach the device")
        return output

    def _failure(self, errors: str, doing: str) -> DeviceError:
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        known = [(line, way) for line in lines for sign, way in _WAYS_OUT.items() if sign in line]
        said, fix = known[0] if known else (lines[-1] if lines else "it said nothing", "run `adb devices`")
        return DeviceError(f"{self.label}: cannot {doing}: {said[:300]}", fix=fix)


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
