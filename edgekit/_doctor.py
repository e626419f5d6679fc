"""What is installed, what is missing and the command that gets it; imports no tool to find out."""

from __future__ import annotations

import platform
import re
import shutil
from dataclasses import dataclass
from importlib import metadata

from edgekit._cache import Cache, default_root
from edgekit.errors import TargetError
from edgekit.registry import Plugin, find_plugins, load_plugin

TOOLS = ("trtexec", "adb", "qemu-aarch64-static", "qemu-aarch64")
DEV_ONLY = "dev"  # the extra of edgekit's own developers
_REQUIREMENT = re.compile(r"\s*([A-Za-z0-9][A-Za-z0-9._-]*)\s*(?:>=\s*([0-9.]+))?[^;]*(?:;\s*(.*))?")
_EXTRA = re.compile(r"""extra\s*==\s*['"]([^'"]+)['"]""")


@dataclass(frozen=True)
class Dependency:
    """A package edgekit uses: `version` None means missing, `extra` None means always needed.

    `fix` is the command that gets it, "" when it is there and new enough.
    """

    name: str
    wanted: str
    version: str | None
    extra: str | None
    fix: str


@dataclass(frozen=True)
class TargetHealth:
    """A target plugin: `missing` is the install command of what it lacks, `problem` why it does not load."""

    name: str
    distribution: str
    version: str
    missing: str | None
    problem: str | None


@dataclass(frozen=True)
class DoctorReport:
    """The state of this installation; `healthy` when nothing that is always needed is missing or broken."""

    edgekit: str
    python: str
    machine: str
    dependencies: tuple[Dependency, ...]
    targets: tuple[TargetHealth, ...]
    tools: dict[str, str | None]
    cache_folder: str
    cache_bytes: int
    problems: tuple[str, ...]

    @property
    def healthy(self) -> bool:
        return not self.problems


def examine() -> DoctorReport:
    """Look at Python, packages, targets, tools on PATH and the cache."""
    dependencies = tuple(_dependencies())
    problems = [
        f"{item.name} {item.version or 'is missing'} (wanted {item.wanted}): {item.fix}"
        for item in dependencies
        if item.fix and item.extra is None
    ]
    targets: list[TargetHealth] = []
    try:
        targets = [_health(plugin) for plugin in find_plugins().values()]
    except TargetError as error:
        problems.append(str(error))
    problems += [target.problem for target in targets if target.problem]
    return DoctorReport(
        edgekit=_version("edgekit") or "not installed",
        python=platform.python_version(),
        machine=f"{platform.system()} {platform.machine()}",
        dependencies=dependencies,
        targets=tuple(targets),
        tools={tool: shutil.which(tool) for tool in TOOLS},
        cache_folder=str(default_root()),
        cache_bytes=Cache(default_root(), "").size(),
        problems=tuple(problems),
    )


def _health(plugin: Plugin) -> TargetHealth:
    missing, problem = None, None
    try:
        missing = load_plugin(plugin).missing()
    except TargetError as error:
        problem = str(error)
    return TargetHealth(plugin.name, plugin.distribution, plugin.version, missing, problem)


def _dependencies() -> list[Dependency]:
    """edgekit's requirements as its installed metadata states them, the developers' left out."""
    try:
        requirements = metadata.requires("edgekit") or []
    except metadata.PackageNotFoundError:
        return []
    found = []
    for text in requirements:
        match = _REQUIREMENT.fullmatch(text)
        extra = _EXTRA.search(match[3] or "") if match else None
        if match is None or (extra and extra[1] == DEV_ONLY):
            continue
        found.append(_dependency(match[1], match[2] or "", extra[1] if extra else None))
    return found


def _dependency(name: str, least: str, extra: str | None) -> Dependency:
    version = _version(name)
    wanted = f">={least}" if least else "any"
    good = version is not None and _numbers(version) >= _numbers(least)
    command = (
        f"pip install 'edgekit[{extra}]'" if extra else f"pip install -U '{name}{wanted if least else ''}'"
    )
    return Dependency(name, wanted, version, extra, "" if good else command)


def _version(name: str) -> str | None:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return None


def _numbers(version: str) -> tuple[int, ...]:
    """The release numbers of a version, trailing zeros left out: `1.20.0rc1` is (1, 20)."""
    match = re.match(r"[0-9]+(?:\.[0-9]+)*", version)
    numbers = [int(part) for part in match[0].split(".")] if match else []
    while numbers and numbers[-1] == 0:
        numbers.pop()
    return tuple(numbers)
