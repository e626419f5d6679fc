"""edgekit.toml: a recipe read from a file and written to one, with nothing in it run unless it is trusted."""

from __future__ import annotations

import json
import os
import re
import tomllib
from dataclasses import fields, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

from edgekit._budget import parse_budget
from edgekit._recipe import Recipe, RecipeOptions
from edgekit._recipe_values import refuse_unknown
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Unpack

    from edgekit._budget import Limit

Trust = Literal["data", "code"]
VERSION = 1
MAX_BYTES = 1_000_000  # a recipe is a page of text
# What only a person at this machine decides; a file that somebody sent never does.
TYPED_ONLY = {"overwrite": "--overwrite", "cache": "--no-cache", "trusted": "--trust"}
SAVED = tuple(item.name for item in fields(Recipe) if item.name not in TYPED_ONLY)
_PLACES = ("samples", "vocabulary", "output")  # paths, relative to the recipe file
_TABLES = ("shapes", "bind", "budget", "gate", "options")  # merged with what is typed
_CODE = ("samples", "metric")  # may name module:function
_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")


def load_recipe(
    path: str | Path,
    model: str | Path | None = None,
    *,
    trust: Trust = "data",
    **typed: Unpack[RecipeOptions],
) -> Recipe:
    """The recipe in a TOML file, with `model` and `typed` options taking the place of the file's.

    Tables (shapes, budget, gate, options) are merged key by key. Relative paths are relative to the
    file. A `module:function` in the file is code: UsageError unless trust is "code" (`--trust`).
    Unknown keys are a UsageError that names the nearest one.
    """
    return read_recipe_table(Path(path), read_table(Path(path)), model, trust, typed)


def read_recipe_table(
    path: Path, table: dict[str, Any], model: str | Path | None, trust: Trust, typed: RecipeOptions
) -> Recipe:
    """As `load_recipe`, of a table that was read from `path` (or is a part of it)."""
    for name, typed_as in TYPED_ONLY.items():
        if name in table:
            raise UsageError(
                f"recipe '{path}' sets '{name}'",
                fix=f"a file cannot decide this: type {typed_as} or leave it",
            )
    refuse_unknown(table, SAVED, f"key in '{path.name}':")
    table = dict(table)
    named = table.pop("model", None)
    if model is None and (not isinstance(named, str) or not named):
        raise UsageError(f"recipe '{path}' names no model", fix='add a line: model = "M.onnx"')
    kept = {name: value for name, value in table.items() if name in _TABLES or name not in typed}
    kept = {name: _place(path.parent, name, value) for name, value in kept.items()}
    if trust == "data":
        _refuse_code(path, kept)
    base = Recipe.of(model if model is not None else _model(path, str(named), trust), **cast("Any", kept))
    over = Recipe.of(base.model, **typed)
    changes: dict[str, Any] = {name: getattr(over, name) for name in typed}
    tables = {name: {**getattr(base, name), **changes[name]} for name in _TABLES if name in typed}
    return replace(base, **{**changes, **tables})


def read_limits(
    budget: str | Mapping[str, object] | None, recipe: str | Path | None = None
) -> dict[str, Limit]:
    """The limits in a recipe file's [budget], with those of `budget` taking the place of the same metrics."""
    from_file: dict[str, Limit] = {}
    if recipe is not None:
        table = _read(Path(recipe)).get("budget", {})
        if not isinstance(table, dict):
            raise UsageError(
                f"recipe '{recipe}': budget is no table", fix='write [budget] and latency = "50ms"'
            )
        from_file = parse_budget(table)
    return from_file | parse_budget(budget)


def save_recipe(recipe: Recipe, path: str | Path) -> None:
    """Write a recipe as TOML; paths below the file's folder become relative to it.

    `overwrite`, `cache` and `trusted` are not written. A callable cannot be: UsageError.
    """
    path = Path(path)
    folder = Path(os.path.abspath(path)).parent  # noqa: PTH100 - resolve() would follow links
    default = Recipe(model=recipe.model)
    is_code = _is_code(str(recipe.model)) and not recipe.model.exists()
    model = str(recipe.model) if is_code else _relative(folder, recipe.model)
    lines = [f"version = {VERSION}", f"model = {_toml(model)}"]
    tables: list[str] = []
    for name in SAVED[1:]:
        value = getattr(recipe, name)
        if value == getattr(default, name):
            continue
        if callable(value):
            raise UsageError(
                f"'{name}' is a Python function, which no recipe file can hold",
                fix=f"name it as module:function in '{name}' and load the recipe with --trust",
            )
        if name in _PLACES and not isinstance(value, dict):
            value = _keep_place(folder, value)
        if isinstance(value, dict):
            tables += ["", f"[{name}]", *(f"{_key(key)} = {_toml(item)}" for key, item in value.items())]
        else:
            lines.append(f"{name} = {_toml(value)}")
    path.write_text("\n".join([*lines, *tables]) + "\n", encoding="utf-8")


def read_table(path: Path, kind: str = "recipe") -> dict[str, Any]:
    """What a recipe file says (or a policy, by `kind`), without its version; UsageError for no such file."""
    table = _read(path, kind)
    if table.pop("version", VERSION) != VERSION:
        raise UsageError(f"{kind} '{path}' is not of version {VERSION}", fix="use the edgekit that wrote it")
    return table


def _read(path: Path, kind: str = "recipe") -> dict[str, Any]:
    try:
        with path.open("rb") as stream:
            data = stream.read(MAX_BYTES + 1)
        if len(data) > MAX_BYTES:
            raise UsageError(f"{kind} '{path}' is larger than {MAX_BYTES} bytes", fix=f"it is no {kind}")
        return tomllib.loads(data.decode("utf-8"))
    except OSError as error:
        raise UsageError(
            f"{kind} '{path}' cannot be read ({error.strerror})", fix="name a TOML file"
        ) from error
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{kind} '{path}' is not TOML ({error})", fix="mend that line") from error


def _beside(folder: Path, text: str) -> Path:
    return Path(os.path.abspath(folder / Path(text).expanduser()))  # noqa: PTH100 - links stay as named


def _model(path: Path, named: str, trust: Trust) -> str | Path:
    """The model that a file names: a path beside it, or a factory, which is code."""
    found = _beside(path.parent, named)
    if not _is_code(named) or found.exists():
        return found
    if trust == "data":
        raise UsageError(
            f"recipe '{path}' names code to run: model = '{named}'",
            fix="read that function, then add --trust; or name the model yourself",
        )
    return named


def _is_code(text: str) -> bool:
    """Whether a text is `package.module:function`."""
    return _FUNCTION.fullmatch(text) is not None


def _place(folder: Path, name: str, value: object) -> object:
    """A path in the file as an absolute one; words that are no path (random, module:function) stay."""
    if name not in _PLACES or not isinstance(value, str) or value == "random":
        return value
    found = _beside(folder, value)
    return value if ":" in value and not found.exists() else str(found)


def _refuse_code(path: Path, table: Mapping[str, object]) -> None:
    for name in _CODE:
        value = table.get(name)
        if isinstance(value, str) and ":" in value and not Path(value).is_absolute():
            raise UsageError(
                f"recipe '{path}' names code to run: {name} = '{value}'",
                fix=f"read that function, then add --trust; or give --{name} yourself",
            )


def _relative(folder: Path, path: Path) -> str:
    whole = Path(os.path.abspath(path))  # noqa: PTH100 - links stay as named
    return whole.relative_to(folder).as_posix() if whole.is_relative_to(folder) else str(whole)


def _keep_place(folder: Path, value: str | Path) -> str:
    is_path = isinstance(value, Path) or Path(value).is_absolute() or Path(value).exists()
    return _relative(folder, Path(value)) if is_path else str(value)


def _key(name: str) -> str:
    return name if _BARE_KEY.fullmatch(name) else _toml(name)


def _toml(value: object) -> str:
    """One TOML value; shapes and limits are written as a person types them."""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (int, float)):
        return repr(value)
    if isinstance(value, tuple) and value and not all(isinstance(item, (str, int, float)) for item in value):
        return _toml(",".join(str(item) for item in value))  # dims of a shape
    if isinstance(value, (list, tuple)):
        return "[" + ", ".join(_toml(item) for item in value) + "]"
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(str(key))} = {_toml(item)}" for key, item in value.items()) + " }"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")
