"""The device loader: what it reads, and what it refuses by file and key."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from edgekit.errors import TargetError, UsageError
from edgekit.profiles.loader import HERE, device_files, load_device

if TYPE_CHECKING:
    from pathlib import Path

GOOD = """
name = "board"
title = "A board"
toolchain = "tensorrt"
software = "one"

[versions.one]
tensorrt = "10.1"
source = "its manual"

[figures.memory]
value = 8
unit = "GB"
source = "its manual"
confidence = "seen"
"""


def _write(folder: Path, text: str) -> Path:
    path = folder / "board.toml"
    path.write_text(text)
    return path


def _jetson(name: str) -> Path:
    return next(path for path in device_files("tensorrt") if path.stem == name)


def test_a_device_file_becomes_a_device(tmp_path: Path) -> None:
    device = load_device(_write(tmp_path, GOOD))
    assert (device.name, device.toolchain, device.software) == ("board", "tensorrt", "one")
    assert device.versions["one"]["tensorrt"] == "10.1"
    memory = device.figures["memory"]
    assert (memory.value, memory.unit, memory.source, memory.confidence) == (8.0, "GB", "its manual", "seen")


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ('title = "A board"', 'title = "A board"\ntoolchian = "x"', ["board.toml", "toolchian", "toolchain"]),
        ('title = "A board"', "", ["board.toml", "'title' is missing"]),
        ('title = "A board"', "title = 3", ["board.toml", "'title' must be a string"]),
        ('title = "A board"', 'title = "A board"\naliases = [1]', ["board.toml", "'aliases'"]),
        ('confidence = "seen"', "", ["figures.memory", "'confidence' is missing"]),
        ("value = 8", 'value = "8"', ["figures.memory", "'value' must be a number"]),
        ("[figures.memory]", "[figures.memroy]", ["unknown key 'memroy'", "did you mean 'memory'"]),
        ('unit = "GB"', 'unit = "MB"', ["figures.memory is in 'MB'", "give it in GB"]),
        ("value = 8", "value = 0", ["figures.memory.value", "not positive"]),
        ("[figures.memory]", "[power_modes.15W]", ["power_modes.15W", "no power in W"]),
        ("[figures.memory]", "[power_mode.15W]", ["unknown key 'power_mode'", "power_modes"]),
        ("value = 8", "value = true", ["figures.memory", "'value' must be a number"]),
        ("value = 8", "value = nan", ["figures.memory.value", "not finite"]),
        (
            'unit = "GB"\nsource = "its manual"',
            'unit = "GB"\nsuorce = "x"',
            ["figures.memory", "did you mean 'source'"],
        ),
        ('tensorrt = "10.1"\nsource = "its manual"', 'tensorrt = "10.1"', ["versions.one", "source"]),
        ('tensorrt = "10.1"', "tensorrt = 10.1", ["versions.one", "strings"]),
        ('software = "one"', 'software = "won"', ["'won' is not one of its versions", "one"]),
        ("[versions.one]", "[versions.one", ["board.toml", "not TOML"]),
    ],
)
def test_a_broken_device_file_is_refused_by_file_and_key(
    tmp_path: Path, old: str, new: str, words: list[str]
) -> None:
    assert old in GOOD
    with pytest.raises(TargetError) as caught:
        load_device(_write(tmp_path, GOOD.replace(old, new)))
    for word in words:
        assert word in str(caught.value)


def test_a_shared_version_table_is_never_looked_for_outside_its_folder(tmp_path: Path) -> None:
    text = GOOD.replace('[versions.one]\ntensorrt = "10.1"\nsource = "its manual"\n', "")
    text = text.replace(
        'software = "one"', 'software = "one"\nversions = ["one"]\nversions_from = "../devices/x"'
    )
    with pytest.raises(TargetError, match="versions_from"):
        load_device(_write(tmp_path, text))


def test_a_missing_or_huge_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(TargetError, match="cannot be read"):
        load_device(tmp_path / "none.toml")
    with pytest.raises(TargetError, match="larger than"):
        load_device(_write(tmp_path, GOOD + "#" * 300_000))


def test_an_unknown_software_names_the_known_ones() -> None:
    with pytest.raises(UsageError, match=r"jetpack-6\.2") as caught:
        load_device(_jetson("jetson-orin-nano-8gb"), "jetpack-6.3")
    assert caught.value.exit_code == 2


def test_every_tensorrt_device_loads_in_every_software_and_cites_each_figure() -> None:
    names = set()
    for path in device_files("tensorrt"):
        device = load_device(path)
        names |= {device.name, *device.aliases}
        assert device.name == path.stem
        for software in device.versions:
            assert load_device(path, software).software == software
            assert device.versions[software]["tensorrt"]
        assert all(figure.source and figure.confidence for figure in device.figures.values())
    assert names == {
        "generic-tensorrt", "tensorrt", "jetson-orin", "jetson-orin-nano-4gb", "jetson-orin-nano-8gb",
        "jetson-orin-nano-super", "jetson-orin-nx-8gb", "jetson-orin-nx-16gb", "jetson-agx-orin-32gb",
        "jetson-agx-orin-64gb", "jetson-agx-thor",
    }  # fmt: skip


def test_jetpack_releases_carry_the_tensorrt_they_install() -> None:
    versions = load_device(_jetson("jetson-orin-nano-8gb"), "jetpack-6.0").versions
    assert versions["jetpack-6.0"]["tensorrt"] == "8.6"
    assert versions["jetpack-6.2"]["tensorrt"] == "10.3"
    thor = load_device(_jetson("jetson-agx-thor"))
    assert "jetpack-6.2" not in thor.versions
    assert thor.versions["jetpack-7.2"]["tensorrt"] == "10.16"


def test_power_modes_and_chip_facts_are_read() -> None:
    modes = load_device(_jetson("jetson-agx-orin-64gb")).power_modes
    assert [(name, mode.value) for name, mode in modes.items()] == [
        ("15W", 15.0), ("30W", 30.0), ("50W", 50.0), ("MAXN", 60.0),
    ]  # fmt: skip
    phone = next(load_device(path) for path in device_files("litert") if path.stem == "galaxy-s25")
    assert (phone.facts["soc"], phone.facts["htp_arch"]) == ("SM8750", "v79")


def test_a_board_lends_its_figures_and_facts_to_the_file_that_names_it(tmp_path: Path) -> None:
    phone = load_device(next(path for path in device_files("litert") if path.stem == "galaxy-s24"))
    npu = load_device(next(path for path in device_files("qnn") if path.stem == "galaxy-s24-qnn"))
    assert (npu.toolchain, npu.figures) == ("qnn", phone.figures)
    assert npu.same_hardware == ("galaxy-s24-qnn", "galaxy-s24")
    assert npu.facts["chip"] == "SM8650"  # its own, beside the board's
    text = (HERE / "devices" / "galaxy-s24-qnn.toml").read_text()
    for word, said in (("../x", "is no device"), ("galaxy-s99", "cannot be read")):
        (tmp_path / "a.toml").write_text(text.replace('board_of = "galaxy-s24"', f'board_of = "{word}"'))
        with pytest.raises(TargetError, match=said):
            load_device(tmp_path / "a.toml")
    (tmp_path / "b.toml").write_text(text.replace('board_of = "galaxy-s24"', 'board_of = "a"'))
    with pytest.raises(TargetError, match="says board_of itself"):
        load_device(tmp_path / "b.toml")


def test_every_device_of_every_toolchain_loads_and_cites_each_figure() -> None:
    paths = [
        path for name in ("litert", "tensorrt", "coreml", "ort-mobile", "qnn") for path in device_files(name)
    ]
    assert len(paths) >= 46
    for path in paths:
        device = load_device(path)
        assert device.name == path.stem
        for figure in (*device.figures.values(), *device.power_modes.values()):
            assert len(figure.source) > 5
            assert figure.confidence
