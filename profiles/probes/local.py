"""The transport `local`: this machine is the device."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import UsageError
from edgekit.profiles.probes.streams import Stream
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit.profiles.probes.transport import Running


class LocalTransport:
    """Runs everything in a temporary folder here; `python3` is the Python that runs edgekit."""

    def __init__(self, address: str, *, keep: str = "") -> None:
        if address:
            raise UsageError(f"'local://{address}' names an address", fix="write --on local")
        self.label = "local"
        self._keep = keep
        self._folder: Path | None = None

    def open(self) -> None:
        """Make an empty folder; with `keep` that is the folder named so."""
        if not self._keep:
            self._folder = Path(tempfile.mkdtemp(prefix="edgekit-profile-"))
            return
        self._folder = Path(self._keep).absolute()
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise DeviceError(
                f"folder '{self._keep}' cannot be made ({error.strerror})", fix="name another one with --keep"
            ) from error

    @property
    def folder(self) -> Path:
        if self._folder is None:
            raise DeviceError("the local transport is not open", fix="report this as a bug")
        return self._folder

    def push(self, files: Mapping[str, Path]) -> int:
        """Copy files into the folder; the bytes copied."""
        sent = 0
        for name, path in files.items():
            place = self.folder / name
            try:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(path, place)
            except OSError as error:
                raise DeviceError(
                    f"'{name}' cannot be copied to {self.folder} ({error.strerror})",
                    fix="make room there, or set TMPDIR to a place with more",
                ) from error
            sent += place.stat().st_size
        return sent

    def pull(self, name: str, to: Path, most: int) -> None:
        """Copy one file out of the folder."""
        place = self.folder / name
        if place.is_symlink() or not place.is_file() or place.stat().st_size > most:
            raise DeviceError(
                f"local: '{name}' is no file of at most {most} bytes", fix="run it again with --keep and look"
            )
        shutil.copyfile(place, to)

    def start(self, command: Sequence[str]) -> Running:
        """Run a command in the folder."""
        words = [
            sys.executable if word == "python3" and not place else word for place, word in enumerate(command)
        ]
        return Stream(words, label=self.label, folder=self.folder)

    def boot(self) -> str:
        """This machine's own, which cannot have restarted."""
        return ""

    def close(self) -> None:
        """Remove the folder unless it was named by the user."""
        if self._folder is not None and not self._keep:
            shutil.rmtree(self._folder, ignore_errors=True)
        self._folder = None
