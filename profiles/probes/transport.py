"""The contract of a transport: how files get to a device and commands run there."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from edgekit.errors import EdgekitError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

#: Most bytes of one line, and of all that a device may say in one run.
MOST_LINE = 16 << 20
MOST_OUTPUT = 512 << 20


#: Script for sh that prints what changes when a system starts anew.
BOOT = "cat /proc/sys/kernel/random/boot_id 2>/dev/null || sysctl -n kern.bootsessionuuid 2>/dev/null || true"


class DeviceError(EdgekitError):
    """The device, or the way to it, failed: refused, dropped, silent, full, or it answered nonsense."""


class Running(Protocol):
    """One command that runs on the device."""

    def read_line(self, patience_s: float) -> bytes | None:
        """The next line of its stdout without the newline; None at its end.

        DeviceError where nothing comes for `patience_s` seconds, or the line passes MOST_LINE.
        """
        ...

    def finish(self) -> tuple[int, str]:
        """Wait for it: exit status, and the last lines of stderr."""
        ...

    def stop(self) -> None:
        """End it, with all it started, whatever state it is in. Never raises."""
        ...


class Transport(Protocol):
    """A way to one device. All methods raise DeviceError with what failed there and the way out."""

    #: The device as the user named it: `local`, `ssh://user@host:22`, `adb://serial`.
    label: str

    def open(self) -> None:
        """Reach the device and make an empty folder for this run there."""
        ...

    def push(self, files: Mapping[str, Path]) -> int:
        """Copy files to their relative names in the folder; bytes sent, without what was there already."""
        ...

    def pull(self, name: str, to: Path, most: int) -> None:
        """Copy one file of at most `most` bytes back."""
        ...

    def start(self, command: Sequence[str]) -> Running:
        """Run a command in the folder; its words reach the program as they are, whatever they hold."""
        ...

    def boot(self) -> str:
        """What tells one start of the device's system from the next, asked anew; "" where nothing does."""
        ...

    def close(self) -> None:
        """Remove the folder, unless it is to be kept, and let go of the device. Never raises."""
        ...
