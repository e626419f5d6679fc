"""A temporary folder beside the target: renamed into place when whole, swept away when its run died."""

from __future__ import annotations

import errno
import hashlib
import os
import secrets
import shutil
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import OutputError

if TYPE_CHECKING:
    from collections.abc import Iterator

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def staged(target: Path) -> Iterator[Path]:
    """An empty folder beside `target`, on its filesystem; removed at the end unless renamed away.

    First sweeps what killed runs for the same target left. OutputError for a missing or
    unwritable parent, and for any failed write inside the block.
    """
    parent = target.parent
    if not parent.is_dir():
        raise OutputError(f"output folder '{parent}' does not exist", fix=f"create it: mkdir -p '{parent}'")
    with told_as_output_error(target):
        _sweep(target)
        stage, lock = _locked_folder(target)
        try:
            yield stage
        finally:
            os.close(lock)
            shutil.rmtree(stage, ignore_errors=True)


@contextmanager
def told_as_output_error(target: Path) -> Iterator[None]:
    """Turns an OSError of the block into an OutputError about `target`."""
    try:
        yield
    except OSError as error:
        fix = "choose a folder that you can write to"
        if error.errno in _NO_ROOM:
            fix = "free some space or choose another disk; nothing was left behind"
        raise OutputError(
            f"output '{target}' cannot be written: {error.strerror or error}", fix=fix
        ) from error


def write_whole(path: Path, text: str) -> None:
    """Write a text file in one rename, or leave what was there; OutputError where it cannot be written."""
    with staged(path) as stage:
        made = stage / "text"
        made.write_text(text, encoding="utf-8")
        made.replace(path)


def put_in_place(stage: Path, target: Path) -> None:
    """Rename a whole stage to `target`, which does not exist."""
    sync_folders(stage)
    stage.rename(target)
    _sync(target.parent)


def swap_in_place(stage: Path, target: Path) -> None:
    """Put a whole stage where `target` is: the old one steps aside, and goes once the new one is there.

    A kill between the two renames leaves the old bundle aside; the next run puts it back.
    """
    sync_folders(stage)
    aside = target.parent / f"{_prefix(target)}old-{secrets.token_hex(4)}"
    target.rename(aside)
    try:
        stage.rename(target)
    except OSError:
        aside.rename(target)
        raise
    _sync(target.parent)
    shutil.rmtree(aside, ignore_errors=True)


def sync_folders(stage: Path) -> None:
    """Make the folder entries of a stage durable (its files are synced as they are written)."""
    for parent, _, _ in os.walk(stage):
        _sync(Path(parent))


def _sync(folder: Path) -> None:
    # Windows cannot open folders; its renames are durable without it.
    if os.name == "nt":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _prefix(target: Path) -> str:
    # A digest: the target's own name may fill all 255 bytes that a name can have.
    return f".edgekit-{hashlib.sha256(target.name.encode()).hexdigest()[:12]}-"


def _locked_folder(target: Path) -> tuple[Path, int]:
    """A new folder and a handle that holds its lock: whoever sweeps knows that its run lives."""
    while True:
        stage = target.parent / f"{_prefix(target)}new-{secrets.token_hex(4)}"
        stage.mkdir()
        handle = _lock(stage)
        if handle is not None and stage.exists():
            return stage, handle
        if handle is not None:
            os.close(handle)


def _lock(folder: Path) -> int | None:
    """A handle holding the folder's lock, or None while another process holds it."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    return handle


def _sweep(target: Path) -> None:
    """Put back an old bundle that a killed run set aside; remove what other killed runs left."""
    for left in sorted(target.parent.glob(f"{_prefix(target)}old-*")):
        if not os.path.lexists(target):
            left.rename(target)
        else:
            shutil.rmtree(left, ignore_errors=True)
    for left in target.parent.glob(f"{_prefix(target)}new-*"):
        with suppress(FileNotFoundError):
            handle = _lock(left)
            if handle is not None:
                shutil.rmtree(left, ignore_errors=True)
                os.close(handle)
