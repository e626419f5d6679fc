"""Finds target plugins (entry points) and resolves what a user types after `--target`."""

from __future__ import annotations

import os
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.metadata import entry_points
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.errors import TargetError, UsageError
from edgekit.profiles.loader import load_device
from edgekit.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping
    from importlib.metadata import EntryPoint

    from edgekit._values import Device

GROUP = "edgekit.targets"
API = 1


@dataclass(frozen=True)
class Plugin:
    """One entry point: the toolchain's name, the distribution that brings it, and how to load it."""

    name: str
    distribution: str
    version: str
    load: Callable[[], object]


@dataclass(frozen=True)
class ResolvedTarget:
    """What a user typed, the toolchain and device it became, and the line that says so ("" if as typed)."""

    requested: str
    target: Target
    device: Device
    note: str


def find_plugins() -> dict[str, Plugin]:
    """Every plugin by name, none imported; two distributions that claim one name are a TargetError."""
    found: dict[str, Plugin] = {}
    for point in entry_points(group=GROUP):
        plugin = _plugin(point)
        other = found.setdefault(plugin.name, plugin)
        if other is not plugin:
            raise TargetError(
                f"target '{plugin.name}' is claimed by '{other.distribution}' and by '{plugin.distribution}'",
                fix=f"keep one: pip uninstall {plugin.distribution}",
            )
    return dict(sorted(found.items()))


def _plugin(point: EntryPoint) -> Plugin:
    dist = point.dist
    return Plugin(point.name, dist.name if dist else "?", dist.version if dist else "?", point.load)


def load_plugin(plugin: Plugin) -> Target:
    """The plugin's Target; TargetError names the distribution of one that fails or speaks another api."""
    whose = f"target '{plugin.name}' of distribution '{plugin.distribution}' {plugin.version}"
    fix = (
        f"update it (pip install -U {plugin.distribution}) or remove it (pip uninstall {plugin.distribution})"
    )
    try:
        loaded = plugin.load()
        target = loaded() if isinstance(loaded, type) else loaded
    except Exception as error:
        raise TargetError(f"{whose} cannot be imported ({type(error).__name__}: {error})", fix=fix) from error
    if not isinstance(target, Target):
        raise TargetError(f"{whose} is no edgekit.target.Target", fix=fix)
    if target.api != API or getattr(target, "name", None) != plugin.name:
        raise TargetError(
            f"{whose} speaks api {target.api} under the name '{getattr(target, 'name', None)}'; this edgekit "
            f"speaks api {API}",
            fix=fix,
        )
    return target


def load_targets() -> dict[str, Target]:
    """Every installed target by name; raises TargetError for the first broken plugin."""
    return {name: load_plugin(plugin) for name, plugin in find_plugins().items()}


def target_of(targets: Mapping[str, Target], name: str) -> Target:
    """The target that a bundle is for; TargetError where it is not among those installed."""
    target = targets.get(name)
    if target is None:
        raise TargetError(
            f"bundle is for target '{name}', which is not installed",
            fix=f"install its plugin (here are {', '.join(sorted(targets)) or 'none'})",
        )
    return target


def load_devices(targets: Iterable[Target]) -> dict[Path, Device]:
    """Devices of the targets and of the user's folder EDGEKIT_DEVICES, by their file.

    TargetError when two files claim one name or alias.
    """
    paths = [path for target in targets for path in target.devices()] + _user_files()
    devices = {path: load_device(path) for path in paths}
    owners: dict[str, Path] = {}
    for path, device in devices.items():
        for name in (device.name, *device.aliases):
            other = owners.setdefault(name, path)
            if other != path:
                raise TargetError(
                    f"device name '{name}' is claimed by '{other}' and by '{path}'",
                    fix="rename one of the two, or take its file out of EDGEKIT_DEVICES",
                )
    return devices


def _user_files() -> list[Path]:
    named = os.environ.get("EDGEKIT_DEVICES")
    if not named:
        return []
    folder = Path(named).expanduser()
    if not folder.is_dir():
        raise TargetError(f"EDGEKIT_DEVICES is '{folder}', which is no folder", fix="unset it or mend it")
    return sorted(folder.glob("*.toml"))


def resolve_target(text: str) -> ResolvedTarget:
    """The target and device behind a device name, `device@software`, alias or toolchain name.

    Raises UsageError with the nearest known names, or for a software the device does not have;
    TargetError where its toolchain is not installed. Nothing is ever guessed.
    """
    targets = load_targets()
    name, at, software = text.strip().partition("@")
    path = _find(name, targets)
    device = load_device(path, software if at else None)
    target = targets.get(device.toolchain)
    if target is None:
        raise TargetError(
            f"device '{device.name}' needs the toolchain '{device.toolchain}', which is not installed",
            fix=f"installed: {', '.join(targets)}",
        )
    return ResolvedTarget(text, target, device, _note(text, device))


def _find(name: str, targets: dict[str, Target]) -> Path:
    """The file of the device that `name` means."""
    devices = load_devices(targets.values())
    names = {device.name: path for path, device in devices.items()}
    names |= {alias: path for path, device in devices.items() for alias in device.aliases}
    if name in names:
        return names[name]
    if name in targets:
        if f"generic-{name}" not in names:
            raise TargetError(f"toolchain '{name}' brings no generic device", fix="name one: edgekit devices")
        return names[f"generic-{name}"]
    near = get_close_matches(name, list(dict.fromkeys([*names, *targets])), n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise UsageError(f"target '{name}' is unknown", fix=f"{hint}edgekit devices lists them all")


def _note(text: str, device: Device) -> str:
    """`jetson-orin -> jetson-orin-nano-8gb (jetpack-6.2, tensorrt 10.3)`, or "" when it is as typed."""
    if text.partition("@")[0] == device.name:
        return ""
    return f"{text} -> {device.name} ({software_words(device)})"


def software_words(device: Device) -> str:
    """The software in use and its tools: `jetpack-6.2, tensorrt 10.3`."""
    row = device.versions.get(device.software, {})
    tools = [f"{tool} {version}" for tool, version in row.items() if tool not in {"source", "confidence"}]
    return ", ".join([device.software, *tools])
