"""A local process whose output is read line by line with patience: what local, ssh and adb runs are."""

from __future__ import annotations

import os
import select
import signal
import subprocess
import threading
import time
from collections import deque
from typing import TYPE_CHECKING

from edgekit.profiles.probes.transport import MOST_LINE, MOST_OUTPUT, DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit.profiles.probes.transport import Running

_CHUNK = 1 << 16
_KEPT_ERRORS = 40
_POLITE_S = 2.0


class Stream:
    """One child process in a process group of its own."""

    def __init__(
        self,
        command: Sequence[str],
        *,
        label: str,
        folder: Path | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self._label = label
        try:
            self._process = subprocess.Popen(
                list(command),
                cwd=folder,
                env=None if environment is None else dict(environment),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise DeviceError(
                f"{label}: '{command[0]}' does not start ({error.strerror})", fix="install it, or mend PATH"
            ) from error
        assert self._process.stdout is not None
        assert self._process.stderr is not None
        self._stdout, self._stderr = self._process.stdout, self._process.stderr
        self._pending = bytearray()
        self._seen = 0
        self._errors: deque[str] = deque(maxlen=_KEPT_ERRORS)
        self._reader = threading.Thread(target=self._keep_errors, daemon=True)
        self._reader.start()

    def _keep_errors(self) -> None:
        while line := self._stderr.readline(4096):
            self._errors.append(line.decode("utf-8", "replace").rstrip())

    def read_line(self, patience_s: float) -> bytes | None:
        """The next line without its newline, None at the end; DeviceError after `patience_s` of silence."""
        until = time.monotonic() + patience_s
        while (end := self._pending.find(b"\n")) < 0:
            if not self._read_more(until - time.monotonic(), patience_s):
                rest = bytes(self._pending)
                self._pending.clear()
                return rest or None
        line = bytes(self._pending[:end])
        del self._pending[: end + 1]
        return line

    def _read_more(self, left_s: float, patience_s: float) -> bool:
        """Whether there is more; False at the end of the output."""
        pipe = self._stdout.fileno()
        if left_s <= 0 or not select.select([pipe], [], [], left_s)[0]:
            raise DeviceError(
                f"{self._label}: nothing was heard for {patience_s:.0f} s",
                fix="see whether the device is up and the runtime hangs there",
            )
        more = os.read(pipe, _CHUNK)
        self._seen += len(more)
        self._pending += more
        if len(self._pending) > MOST_LINE or self._seen > MOST_OUTPUT:
            raise DeviceError(
                f"{self._label}: the output is larger than edgekit reads",
                fix="run the command there by hand and look at what it prints",
            )
        return bool(more)

    def finish(self) -> tuple[int, str]:
        """Exit status, and the last lines of stderr."""
        code = self._process.wait()
        self._reader.join(timeout=_POLITE_S)
        return code, "\n".join(self._errors)

    def stop(self) -> None:
        """End the process and all it started; a stopped one too."""
        for number in (signal.SIGTERM, signal.SIGCONT, signal.SIGKILL):
            try:
                os.killpg(self._process.pid, number)
            except ProcessLookupError:
                break
            if number == signal.SIGCONT:
                self._wait_politely()
        self._process.wait()

    def _wait_politely(self) -> None:
        try:
            self._process.wait(_POLITE_S)
        except subprocess.TimeoutExpired:
            return


def run_to_end(stream: Running, *, patience_s: float, most: int = MOST_OUTPUT) -> tuple[int, bytes, str]:
    """(exit status, stdout, last lines of stderr) of a command that ends on its own."""
    lines = []
    size = 0
    while (line := stream.read_line(patience_s)) is not None:
        size += len(line) + 1
        if size > most:
            stream.stop()
            raise DeviceError(
                "a command prints more than edgekit reads", fix="run it by hand and look at its output"
            )
        lines.append(line)
    code, errors = stream.finish()
    return code, b"\n".join(lines), errors
