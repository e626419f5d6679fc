"""Which file names a bundle may hold: the same on Linux, macOS, Windows and Android, never outside."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterable

MANIFEST = "manifest.json"
_LONGEST = 200
_DEEPEST = 8
# No leading dot or dash: a hidden file would be overlooked, a dash read as an option.
_PART = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.+@=-]*(?<!\.)")
# Names that Windows gives to devices, with any ending.
_WINDOWS_DEVICE = re.compile(r"(?i)(con|nul|aux|prn|com[0-9]|lpt[0-9])(\..*)?")
_COMPONENT = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")


def check_name(name: str) -> str:
    """The name itself if it is a plain relative path inside the bundle; else BundleError."""
    rule = _broken_rule(name)
    if rule:
        raise BundleError(
            f"bundle file name {name[:_LONGEST]!r}: {rule}",
            fix="take a bundle that `edgekit convert` wrote; do not unpack this one",
        )
    return name


def _broken_rule(name: str) -> str | None:
    parts = name.split("/")
    if not name or len(name) > _LONGEST:
        return f"it must have 1 to {_LONGEST} characters"
    if len(parts) > _DEEPEST:
        return f"it is nested deeper than {_DEEPEST} folders"
    if ".." in parts or name.startswith("/"):
        return "it leaves the bundle's folder"
    for part in parts:
        if not _PART.fullmatch(part):
            return "only letters, digits and _ . + @ = - are allowed, with no dot or dash first"
        if _WINDOWS_DEVICE.fullmatch(part):
            return "it names a device on Windows"
    return None


def check_names(names: Iterable[str]) -> None:
    """BundleError for an unsafe name, for two that differ only in case, or a file used as a folder."""
    seen: dict[str, str] = {}
    for name in names:
        other = seen.get(check_name(name).casefold())
        if other is not None:
            raise BundleError(
                f"bundle file names '{other}' and '{name}' are one file (on macOS and Windows at least)",
                fix="rename one of them in the target's build",
            )
        seen[name.casefold()] = name
    for folded, name in seen.items():
        pieces = folded.split("/")
        for depth in range(1, len(pieces)):
            if "/".join(pieces[:depth]) in seen:
                raise BundleError(
                    f"bundle file name '{name}' lies under another file",
                    fix="rename it in the target's build",
                )


def check_component(name: str) -> str:
    """The name itself if it can be a folder name; else BundleError."""
    if not _COMPONENT.fullmatch(name) or _WINDOWS_DEVICE.fullmatch(name):
        raise BundleError(
            f"component name {name[:80]!r} cannot name a folder",
            fix="use lower-case letters, digits, _ and -, 64 at most",
        )
    return name
