"""Reads one device TOML into a Device; refuses what it does not know and names the nearest known key."""

from __future__ import annotations

import tomllib
from difflib import get_close_matches
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, cast

from edgekit._values import Device, Figure
from edgekit.errors import TargetError, UsageError
from edgekit.profiles.figures import FIGURES

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    Table = Mapping[str, object]

HERE = Path(__file__).parent
MAX_BYTES = 256 * 1024

# Key -> (type, required). `versions` is a table of its own, or a list of names out of `versions_from`.
_DEVICE_KEYS: dict[str, tuple[type | tuple[type, ...], bool]] = {
    "name": (str, True),
    "title": (str, True),
    "toolchain": (str, True),
    "software": (str, True),
    "versions": ((dict, list), True),
    "versions_from": (str, False),
    "board_of": (str, False),
    "aliases": (list, False),
    "figures": (dict, False),
    "power_modes": (dict, False),
    "facts": (dict, False),
    "notes": (list, False),
}
_FIGURE_KEYS: dict[str, tuple[type | tuple[type, ...], bool]] = {
    "value": ((int, float), True),
    "unit": (str, True),
    "source": (str, True),
    "confidence": (str, True),
}
_WORDS = {str: "a string", list: "a list of strings", dict: "a table", (int, float): "a number"}


def device_files(toolchain: str) -> list[Path]:
    """The device TOMLs of one toolchain, sorted by name."""
    paths = sorted((HERE / "devices").glob("*.toml"))
    return [path for path in paths if _read(path).get("toolchain") == toolchain]


def find_device(paths: Iterable[Path], name: str, software: str) -> Device:
    """The device of this name among `paths`, as its TOML says today; TargetError where there is none."""
    for path in paths:
        if load_device(path).name == name:
            return load_device(path, software)
    raise TargetError(
        f"device '{name}' of the bundle is not known here",
        fix="update edgekit, or convert again for a device that `edgekit devices` lists",
    )


def load_device(path: Path, software: str | None = None) -> Device:
    """The device of one TOML with `software` (None: its default) in use.

    Raises TargetError (with file and key) for a broken TOML, UsageError for an unknown software.
    """
    table = _read(path)
    _check_keys(table, _DEVICE_KEYS, f"{path.name}")
    versions = _versions(table, path)
    default = cast("str", table["software"])
    if default not in versions:
        raise _broken(
            path.name, f"software '{default}' is not one of its versions", sorted(versions), default
        )
    chosen = software if software is not None else default
    if chosen not in versions:
        raise UsageError(
            f"device '{table['name']}' has no software '{chosen}'",
            fix=f"use one of: {', '.join(versions)}{_nearest(chosen, list(versions))}",
        )
    board = _board(table, path)
    figures, modes = (cast("Table", board.get(key, {})) for key in ("figures", "power_modes"))
    facts = cast("dict[str, str]", board.get("facts", {}))
    return Device(
        name=cast("str", table["name"]),
        title=cast("str", table["title"]),
        toolchain=cast("str", table["toolchain"]),
        software=chosen,
        versions=versions,
        aliases=_strings(table, "aliases", path.name),
        figures=_known_figures({**figures, **cast("Table", table.get("figures", {}))}, path.name),
        power_modes=_power_modes({**modes, **cast("Table", table.get("power_modes", {}))}, path.name),
        facts={**facts, **_string_table(table.get("facts", {}), f"{path.name}: facts")},
        notes=_strings(table, "notes", path.name),
    )


def _board(table: Table, path: Path) -> Table:
    """The device file of the same board under another toolchain, whose figures and facts hold here too."""
    name = table.get("board_of")
    if name is None:
        return {}
    if not isinstance(name, str) or not name.replace("-", "").isalnum():
        raise TargetError(
            f"{path.name}: board_of '{name}' is no device", fix="name a device file beside it, without .toml"
        )
    board = _read(path.with_name(f"{name}.toml"))
    if "board_of" in board:
        raise TargetError(f"{path.name}: {name}.toml says board_of itself", fix="name the device it names")
    facts = _string_table(board.get("facts", {}), f"{name}.toml: facts")
    return {**board, "facts": {"board_of": name, **facts}}


def _read(path: Path) -> Table:
    """One TOML file; its size is capped, since plugins and users bring their own."""
    try:
        state = path.stat()
        if state.st_size > MAX_BYTES:
            raise TargetError(
                f"device file {path} is larger than {MAX_BYTES // 1024} KiB", fix="give a device TOML"
            )
        return _parse(path, state.st_mtime_ns, state.st_size)
    except OSError as error:
        raise TargetError(
            f"device file {path} cannot be read ({error.strerror})", fix="check the path"
        ) from error
    except (tomllib.TOMLDecodeError, UnicodeDecodeError, RecursionError) as error:
        raise TargetError(f"device file {path} is not TOML ({error})", fix="mend the file") from error


@cache
def _parse(path: Path, changed: int, size: int) -> Table:
    """The file as it was when it last changed; each is asked for several times a command."""
    del changed, size
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _versions(table: Table, path: Path) -> dict[str, Mapping[str, str]]:
    """Software name -> its tools and source; from the device's own table or the shared one it names."""
    named = table["versions"]
    if isinstance(named, dict):
        return _version_table(named, path.name)
    shared = table.get("versions_from")
    if not isinstance(shared, str) or not shared.replace("-", "").replace("_", "").isalnum():
        raise TargetError(
            f"{path.name}: versions is a list, so versions_from must name its table",
            fix="set versions_from to a file name (without .toml) of profiles/software",
        )
    known = _version_table(_read(HERE / "software" / f"{shared}.toml"), f"software/{shared}.toml")
    names = _strings(table, "versions", path.name)
    for name in names:
        if name not in known:
            raise _broken(path.name, f"versions names '{name}', not in software/{shared}.toml", known, name)
    return {name: known[name] for name in names}


def _version_table(table: Table, where: str) -> dict[str, Mapping[str, str]]:
    """Checked version rows: all values strings, each with a source."""
    rows: dict[str, Mapping[str, str]] = {
        name: _string_table(row, f"{where}: versions.{name}") for name, row in table.items()
    }
    for name, row in rows.items():
        if not row.get("source"):
            raise TargetError(
                f"{where}: versions.{name} has no source", fix="say where the versions come from"
            )
    if not rows:
        raise TargetError(f"{where}: versions is empty", fix="name at least one software version")
    return rows


def _known_figures(table: Table, where: str) -> dict[str, Figure]:
    """The figures of a device; a name or unit that nothing would read is refused."""
    figures = {name: _figure(row, f"{where}: figures.{name}") for name, row in table.items()}
    for name, figure in figures.items():
        if name not in FIGURES:
            raise _broken(f"{where}: figures", f"unknown key '{name}'", FIGURES, name)
        if figure.unit != FIGURES[name]:
            raise TargetError(
                f"{where}: figures.{name} is in '{figure.unit}'", fix=f"give it in {FIGURES[name]}"
            )
        if figure.value <= 0:
            raise TargetError(
                f"{where}: figures.{name}.value is not positive", fix="leave out what is unknown"
            )
    return figures


def _power_modes(table: Table, where: str) -> dict[str, Figure]:
    """Power mode -> its limit in W."""
    modes = {name: _figure(row, f"{where}: power_modes.{name}") for name, row in table.items()}
    for name, figure in modes.items():
        if figure.unit != "W" or figure.value <= 0:
            raise TargetError(f"{where}: power_modes.{name} is no power in W", fix="give its limit in W")
    return modes


def _figure(row: object, where: str) -> Figure:
    if not isinstance(row, dict):
        raise TargetError(f"{where} must be a table", fix="give value, unit, source and confidence")
    _check_keys(row, _FIGURE_KEYS, where)
    value = float(row["value"])
    if not abs(value) < float("inf"):
        raise TargetError(f"{where}.value is not finite", fix="leave out what is unknown")
    return Figure(value, row["unit"], row["source"], row["confidence"])


def _check_keys(table: Table, keys: Mapping[str, tuple[type | tuple[type, ...], bool]], where: str) -> None:
    """Refuse unknown keys, wrong types, missing keys and empty required strings."""
    for key, value in table.items():
        if key not in keys:
            raise _broken(where, f"unknown key '{key}'", keys, key)
        kind = keys[key][0]
        if not isinstance(value, kind) or isinstance(value, bool):
            words = _WORDS.get(kind, "a table or a list of strings")
            raise TargetError(f"{where}: '{key}' must be {words}", fix="mend the value")
    for key, (_, required) in keys.items():
        if required and table.get(key) in (None, ""):
            raise TargetError(f"{where}: '{key}' is missing", fix=f"add '{key}'")


def _strings(table: Table, key: str, where: str) -> tuple[str, ...]:
    values = cast("list[object]", table.get(key, []))
    if not all(isinstance(value, str) for value in values):
        raise TargetError(f"{where}: '{key}' must be a list of strings", fix="mend the value")
    return tuple(cast("list[str]", values))


def _string_table(value: object, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise TargetError(f"{where} must be a table of strings", fix="quote its values")
    return dict(value)


def _broken(where: str, problem: str, known: Iterable[str], given: str) -> TargetError:
    names = list(known)
    return TargetError(f"{where}: {problem}", fix=f"known are: {', '.join(names)}{_nearest(given, names)}")


def _nearest(given: str, known: list[str]) -> str:
    near = get_close_matches(given, known, n=1)
    return f" (did you mean '{near[0]}'?)" if near else ""
