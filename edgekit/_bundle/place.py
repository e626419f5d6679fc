"""Refuses, before any work, a folder that no bundle could be put into."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from edgekit._bundle.limits import Limits
from edgekit._bundle.names import MANIFEST
from edgekit._bundle.read import read_manifest
from edgekit.errors import BundleError, OutputError

if TYPE_CHECKING:
    from pathlib import Path


def check_place(folder: Path) -> None:
    """Raise OutputError where a bundle at `folder` could not be written or would do harm; makes nothing.

    Refused are a place that cannot be written to, one inside another bundle, which would break its seal,
    and a folder or file that is there and is no bundle.
    """
    parents = folder.absolute().parents
    nearest = next(path for path in parents if os.path.lexists(path))
    if not nearest.is_dir() or not os.access(nearest, os.W_OK | os.X_OK):
        problem = "cannot be written to" if nearest.is_dir() else "is no folder"
        raise OutputError(
            f"output folder '{folder.parent}' cannot be used: '{nearest}' {problem}",
            fix="name another one with -o",
        )
    for parent in parents:
        if _is_bundle(parent):
            raise OutputError(
                f"output folder '{folder.parent}' lies in the bundle '{parent}', whose seal it would break",
                fix="name another one with -o",
            )
    if os.path.lexists(folder) and (folder.is_symlink() or not (folder / MANIFEST).is_file()):
        raise OutputError(
            f"output '{folder}' exists and is no edgekit bundle",
            fix="name another folder with -o; it was left as it is",
        )


def _is_bundle(folder: Path) -> bool:
    if not (folder / MANIFEST).is_file():
        return False
    try:
        read_manifest(folder, Limits())
    except BundleError:
        return False
    return True
