"""scenario.toml: which components a request runs, in what order, how often, and who feeds whom."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from difflib import get_close_matches
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

MAX_BYTES = 256 * 1024
MAX_COUNT = 10_000_000  # repeats, tokens and sizes: a typing mistake shows before it is multiplied
_KEYS = ("title", "sizes", "component", "step")
_COMPONENT_KEYS = ("file", "shape", "cache", "weights_of")
_STEP_KEYS = ("component", "repeat", "feeds", "phase")
PHASES = ("encode", "prefill", "decode")


@dataclass(frozen=True)
class Part:
    """One component: its float ONNX file and what the file leaves open.

    shape: input -> dims as typed, words of [sizes] among them. cache: patterns of the inputs that hold a
    KV cache. weights_of: the component whose weights it shares, so that memory counts them once.
    """

    name: str
    file: Path
    shape: Mapping[str, str] = field(default_factory=dict)
    cache: tuple[str, ...] = ()
    weights_of: str | None = None


@dataclass(frozen=True)
class Step:
    """One line of the request: `component` runs `repeat` times and feeds those that `feeds` names.

    phase: `decode` steps run once a generated token; what stands before the first of them is the time
    to first token.
    """

    component: str
    repeat: int
    feeds: tuple[str, ...]
    phase: str


@dataclass(frozen=True)
class Scenario:
    """A request through components; `sizes` are the named counts (tokens, past length) in use."""

    path: Path
    title: str
    sizes: Mapping[str, int]
    parts: Mapping[str, Part]
    steps: tuple[Step, ...]

    def runs(self, component: str) -> int:
        """How often one request runs a component."""
        return sum(step.repeat for step in self.steps if step.component == component)


def load_scenario(path: Path) -> Scenario:
    """Read a scenario file; its components' files lie in its folder or below.

    UsageError for an unknown key, a step or feed that names no component, a repeat that is neither a
    count nor a word of [sizes], a component that no step runs, and a file that is missing or outside.
    """
    table = _read(path)
    _known(table, _KEYS, f"{path.name}")
    sizes = {
        name: _count(value, f"sizes.{name}", path) for name, value in _table(table, "sizes", path).items()
    }
    parts = {name: _part(name, row, path) for name, row in _table(table, "component", path).items()}
    if not parts:
        raise _wrong(path, "names no component", 'add [component.NAME] with file = "x.onnx"')
    for part in parts.values():
        _name_part(part.weights_of or part.name, parts, f"component.{part.name}.weights_of", path)
    steps = tuple(
        _step(row, f"step {number}", parts, sizes, path)
        for number, row in enumerate(_rows(table, path), start=1)
    )
    for name in parts:
        if name not in {step.component for step in steps}:
            raise _wrong(
                path, f"no step runs component '{name}'", f'add a [[step]] with component = "{name}"'
            )
    return Scenario(path, str(table.get("title", path.parent.name)), sizes, parts, steps)


def _read(path: Path) -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"scenario '{path}' is larger than {MAX_BYTES} bytes", fix="it is no scenario")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"scenario '{path}' cannot be read ({error.strerror})", fix="name a TOML file, as scenario.toml"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"scenario '{path}' is not TOML ({error})", fix="mend that line") from error


def _wrong(path: Path, problem: str, fix: str) -> UsageError:
    return UsageError(f"scenario '{path.name}': {problem}", fix=fix)


def _known(table: Mapping[str, object], keys: Sequence[str], where: str) -> None:
    for key in table:
        if key not in keys:
            near = get_close_matches(key, keys, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"scenario '{where}': unknown key '{key}'", fix=f"{hint}known: {', '.join(keys)}"
            )


def _table(table: Mapping[str, Any], key: str, path: Path) -> dict[str, Any]:
    value = table.get(key, {})
    if not isinstance(value, dict):
        raise _wrong(path, f"'{key}' must be a table", f"write [{key}]")
    return value


def _rows(table: Mapping[str, Any], path: Path) -> list[dict[str, Any]]:
    rows = table.get("step", [])
    if not isinstance(rows, list) or not rows or not all(isinstance(row, dict) for row in rows):
        raise _wrong(path, "has no steps", 'add [[step]] with component = "NAME"')
    return rows


def _texts(value: object, where: str, path: Path) -> tuple[str, ...]:
    values = [value] if isinstance(value, str) else value
    if not isinstance(values, list) or not all(isinstance(item, str) for item in values):
        raise _wrong(path, f"'{where}' must be a name or a list of names", "quote the names")
    return tuple(values)


def _count(value: object, where: str, path: Path, *, least: int = 0) -> int:
    if isinstance(value, str) and value.isascii() and value.isdigit():
        value = int(value)
    if not isinstance(value, int) or isinstance(value, bool) or not least <= value <= MAX_COUNT:
        raise _wrong(path, f"{where} is {value!r}", f"give a whole number from {least} to {MAX_COUNT}")
    return value


def _part(name: str, row: object, path: Path) -> Part:
    if not isinstance(row, dict):
        raise _wrong(path, f"'component.{name}' must be a table", f"write [component.{name}]")
    _known(row, _COMPONENT_KEYS, f"{path.name}: component.{name}")
    shape = row.get("shape", {})
    if not isinstance(shape, dict) or not all(isinstance(dims, str) for dims in shape.values()):
        raise _wrong(
            path, f"component.{name}.shape must map inputs to dims", 'as shape = { ids = "1,prompt" }'
        )
    shared = row.get("weights_of")
    if shared is not None and not isinstance(shared, str):
        raise _wrong(path, f"component.{name}.weights_of must name a component", "quote its name")
    cache = _texts(row.get("cache", []), f"component.{name}.cache", path)
    return Part(name, _file(row.get("file"), name, path), shape, cache, shared)


def _file(value: object, name: str, path: Path) -> Path:
    """The component's file; it can't leave the scenario's folder, by '..' or by a link."""
    if not isinstance(value, str) or not value:
        raise _wrong(path, f"component.{name} names no file", 'add file = "x.onnx"')
    found = path.parent / value
    if not found.resolve().is_relative_to(path.parent.resolve()):
        raise _wrong(
            path, f"'{value}' of component.{name} leaves its folder", "keep the components beside it"
        )
    if not found.is_file():
        raise _wrong(
            path, f"'{value}' of component.{name} is missing", "put the file there, or mend its name"
        )
    return found


def _name_part(name: str, parts: Mapping[str, Part], where: str, path: Path) -> str:
    if name not in parts:
        near = get_close_matches(name, parts, n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise _wrong(
            path, f"{where} names '{name}', which is no component", f"{hint}known: {', '.join(parts)}"
        )
    return name


def _step(
    row: Mapping[str, Any], where: str, parts: Mapping[str, Part], sizes: Mapping[str, int], path: Path
) -> Step:
    _known(row, _STEP_KEYS, f"{path.name}: {where}")
    component = _name_part(str(row.get("component", "")), parts, where, path)
    feeds = tuple(
        _name_part(name, parts, f"{where}: feeds", path)
        for name in _texts(row.get("feeds", []), "feeds", path)
    )
    repeat = row.get("repeat", 1)
    named = repeat if isinstance(repeat, str) and not repeat.isdigit() else None
    if named is not None and named not in sizes:
        raise _wrong(
            path,
            f"{where} repeats '{named}' times, which [sizes] does not give",
            f"add it there; known: {', '.join(sizes) or 'none'}",
        )
    phase = row.get("phase", "decode" if named == "tokens" else "prefill")
    if phase not in PHASES:
        raise _wrong(path, f"{where} has phase {phase!r}", f"use one of {', '.join(PHASES)}")
    count = _count(sizes[named] if named is not None else repeat, f"{where}: repeat", path, least=1)
    return Step(component, count, feeds, phase)
