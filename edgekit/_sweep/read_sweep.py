"""A sweep recipe -> its jobs: shared options of a recipe, and a list of models with options of their own."""

from __future__ import annotations

import os
import re
import tempfile
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypedDict

from edgekit._plan import resolve_all
from edgekit._recipe_file import read_recipe_table, read_table, save_recipe
from edgekit._sweep_values import SweepJob
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._recipe import Recipe
    from edgekit._recipe_file import Trust

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_EXAMPLE = 'list them as [[models]] tables, each with model = "M.onnx"'
MOST_JOBS = 10_000


class SweepWords(TypedDict, total=False):
    """What a person types beside the recipe."""

    dask: str | None
    workers: int | None
    output: str | Path | None
    cache: str | Path | None
    overwrite: bool
    trust: bool


@dataclass(frozen=True)
class _Typed:
    output: Path | None
    cache: str | None
    overwrite: bool
    trust: Trust


def read_sweep(path: Path, words: SweepWords) -> tuple[SweepJob, ...]:
    """One job a model and target, in the recipe's order.

    Every recipe and target is checked before any job runs: UsageError or TargetError for what makes no sense.
    """
    cache = words.get("cache")
    output = words.get("output")
    typed = _Typed(
        None if output is None else Path(output),
        str(cache) if cache in (None, "off") else os.path.abspath(str(cache)),  # noqa: PTH100 - as typed
        bool(words.get("overwrite", False)),
        "code" if words.get("trust", False) else "data",
    )
    if cache is None:
        typed = replace(typed, cache=None)
    table = read_table(path)
    models = table.pop("models", None)
    if not isinstance(models, list) or not models or not all(isinstance(item, dict) for item in models):
        raise UsageError(f"sweep recipe '{path}' has no models", fix=_EXAMPLE)
    jobs = [job for item in models for job in _jobs_of(path, table, item, typed)]
    if len(jobs) > MOST_JOBS:
        raise UsageError(
            f"sweep recipe '{path}' has {len(jobs)} jobs", fix=f"up to {MOST_JOBS} are run at once"
        )
    _refuse_twins(path, jobs)
    return tuple(jobs)


def _jobs_of(path: Path, shared: dict[str, Any], own: dict[str, Any], typed: _Typed) -> Iterator[SweepJob]:
    """The jobs of one model; its own tables are merged with the shared ones key by key."""
    own = dict(own)
    name = own.pop("name", None)
    if "model" not in own:
        raise UsageError(f"sweep recipe '{path}': a [[models]] table names no model", fix=_EXAMPLE)
    tables = {
        key: {**value, **own[key]}
        for key, value in shared.items()
        if isinstance(value, dict) and isinstance(own.get(key), dict)
    }
    recipe = read_recipe_table(path, {**shared, **own, **tables}, None, typed.trust, {})
    name = recipe.model.stem if name is None else name
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise UsageError(
            f"sweep recipe '{path}': {name!r} cannot be a folder's name",
            fix="give the model a name = \"...\" of letters, digits, '.', '_' and '-'",
        )
    folder = typed.output or recipe.output or Path(f"{path.stem}-edgekit")
    output = Path(os.path.abspath(folder / name))  # noqa: PTH100 - links stay as named
    for item in resolve_all(recipe):
        one = replace(recipe, targets=(item.requested,), output=output)
        yield SweepJob(
            name, item.requested, _as_text(one), output, typed.cache, typed.overwrite, typed.trust == "code"
        )


def _as_text(recipe: Recipe) -> str:
    """The recipe as TOML, its paths absolute: no path lies below the empty folder it is written to."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        whole = replace(recipe, model=Path(os.path.abspath(recipe.model)))  # noqa: PTH100 - links stay as named
        save_recipe(whole, Path(folder) / "job.toml")
        return (Path(folder) / "job.toml").read_text(encoding="utf-8")


def _refuse_twins(path: Path, jobs: list[SweepJob]) -> None:
    seen: set[tuple[str, str]] = set()
    for job in jobs:
        if (job.name, job.target) in seen:
            raise UsageError(
                f"sweep recipe '{path}': model '{job.name}' for '{job.target}' is there twice",
                fix='give one of them a name = "..." of its own',
            )
        seen.add((job.name, job.target))
