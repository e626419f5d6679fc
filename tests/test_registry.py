"""Plugins are found by entry point, and what a user types becomes one device or a clear refusal."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING

import pytest

from edgekit import registry
from edgekit.errors import TargetError, UsageError
from edgekit.registry import find_plugins, load_plugin, load_targets, resolve_target
from edgekit.target import Target

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    Install = Callable[..., None]

DEVICE = """
name = "{name}"
title = "A device"
toolchain = "{toolchain}"
software = "soft-2"
aliases = [{aliases}]
[versions.soft-1]
tool = "1.0"
source = "made up for a test"
[versions.soft-2]
tool = "2.0"
source = "made up for a test"
"""


def write_device(folder: Path, name: str, aliases: str = "", toolchain: str = "acme") -> Path:
    path = folder / f"{name}.toml"
    path.write_text(DEVICE.format(name=name, aliases=aliases, toolchain=toolchain))
    return path


def acme(*paths: Path, **changes: object) -> type[Target]:
    members: dict[str, object] = {"name": "acme", "missing": lambda self: None}
    members["devices"] = lambda self: list(paths)
    for method in ("plan", "check", "build", "open"):
        members[method] = lambda self, *rest: []
    return type("Acme", (Target,), members | changes)


def point(load: object, name: str = "acme", dist: str = "acme-dist") -> SimpleNamespace:
    return SimpleNamespace(name=name, dist=SimpleNamespace(name=dist, version="1.2"), load=load)


@pytest.fixture
def plugins(monkeypatch: pytest.MonkeyPatch) -> Install:
    monkeypatch.delenv("EDGEKIT_DEVICES", raising=False)

    def install(*points: SimpleNamespace) -> None:
        monkeypatch.setattr(registry, "entry_points", lambda group: points)

    return install


@pytest.fixture
def devices(plugins: Install, tmp_path: Path) -> Path:
    paths = [write_device(tmp_path, "generic-acme"), write_device(tmp_path, "acme-one", '"acme-alias"')]
    plugins(point(lambda: acme(*paths)))
    return tmp_path


def test_two_distributions_that_claim_one_name_are_both_named(plugins: Install) -> None:
    plugins(point(acme, dist="first"), point(acme, dist="second"))
    with pytest.raises(TargetError, match=r"claimed by 'first' and by 'second'; .*pip uninstall second"):
        find_plugins()


def test_finding_plugins_imports_none_of_them(plugins: Install) -> None:
    def explode() -> object:
        raise AssertionError("imported")

    plugins(point(explode))
    assert list(find_plugins()) == ["acme"]


def missing_module() -> object:
    raise ModuleNotFoundError("No module named 'acme_core'")


def no_constructor() -> object:
    def broken(self: object) -> None:
        raise RuntimeError("no licence")

    return acme(__init__=broken)


@pytest.mark.parametrize(
    ("load", "words"),
    [
        (missing_module, "cannot be imported .*No module named 'acme_core'"),
        (no_constructor, "cannot be imported .*no licence"),
        (lambda: object, "is no edgekit.target.Target"),
        (lambda: acme(api=2), "speaks api 2"),
        (lambda: acme(name="other"), "under the name 'other'"),
    ],
)
def test_a_broken_plugin_is_refused_with_its_distribution(plugins: Install, load: object, words: str) -> None:
    plugins(point(load))
    with pytest.raises(TargetError, match=f"'acme-dist' 1.2.*{words}.*pip uninstall acme-dist"):
        load_targets()


def test_a_device_by_its_own_name_needs_no_note(devices: Path) -> None:
    found = resolve_target("acme-one")
    assert (found.device.name, found.device.software, found.target.name, found.note) == (
        "acme-one",
        "soft-2",
        "acme",
        "",
    )


def test_a_device_with_software_uses_that_software(devices: Path) -> None:
    found = resolve_target("acme-one@soft-1")
    assert (found.requested, found.device.software, found.note) == ("acme-one@soft-1", "soft-1", "")


def test_an_alias_says_what_it_became(devices: Path) -> None:
    assert resolve_target("acme-alias").note == "acme-alias -> acme-one (soft-2, tool 2.0)"
    assert resolve_target("acme-alias@soft-1").note == "acme-alias@soft-1 -> acme-one (soft-1, tool 1.0)"


def test_a_toolchain_is_its_generic_device(devices: Path) -> None:
    assert resolve_target("acme").note == "acme -> generic-acme (soft-2, tool 2.0)"


def test_a_toolchain_without_a_generic_device_is_refused(plugins: Install, tmp_path: Path) -> None:
    path = write_device(tmp_path, "acme-one")
    plugins(point(lambda: acme(path)))
    with pytest.raises(TargetError, match="brings no generic device"):
        resolve_target("acme")


def test_an_unknown_name_gets_the_nearest_ones(devices: Path) -> None:
    with pytest.raises(UsageError, match="'acme-onr' is unknown; did you mean acme-one"):
        resolve_target("acme-onr")


@pytest.mark.parametrize("text", ["", "@", "../acme-one", "acme-one/", "ACME-ONE", "-x"])
def test_odd_names_are_unknown_and_never_a_path(devices: Path, text: str) -> None:
    with pytest.raises(UsageError, match="is unknown"):
        resolve_target(text)


@pytest.mark.parametrize("text", ["acme-one@soft-3", "acme-one@"])
def test_an_unknown_software_is_refused_with_the_known_ones(devices: Path, text: str) -> None:
    with pytest.raises(UsageError, match=r"use one of: soft-1, soft-2"):
        resolve_target(text)


def test_a_users_folder_brings_devices(
    devices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    write_device(own, "my-board")
    monkeypatch.setenv("EDGEKIT_DEVICES", str(own))
    assert resolve_target("my-board").device.name == "my-board"


def test_a_users_device_cannot_take_a_known_name(
    devices: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = tmp_path / "own"
    own.mkdir()
    write_device(own, "mine", '"acme-one"')
    monkeypatch.setenv("EDGEKIT_DEVICES", str(own))
    with pytest.raises(TargetError, match="'acme-one' is claimed by"):
        resolve_target("acme-one")


def test_a_users_folder_that_is_none_is_told(devices: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEKIT_DEVICES", "/nowhere/at/all")
    with pytest.raises(TargetError, match="which is no folder"):
        resolve_target("acme-one")


def test_a_device_of_a_toolchain_that_is_not_installed_says_so(plugins: Install, tmp_path: Path) -> None:
    path = write_device(tmp_path, "generic-acme", toolchain="other")
    plugins(point(lambda: acme(path)))
    with pytest.raises(TargetError, match="needs the toolchain 'other', which is not installed"):
        resolve_target("generic-acme")


def test_a_plugin_may_bring_an_object_instead_of_a_class(plugins: Install) -> None:
    target = acme()()
    plugins(point(lambda: target))
    assert load_plugin(find_plugins()["acme"]) is target
