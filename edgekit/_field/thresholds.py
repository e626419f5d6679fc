"""The limits of drift: loaded from thresholds.toml, with those of a user's file in their place."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

METRICS = ("psi", "ks", "wasserstein", "nonfinite")
_KEYS = dict.fromkeys(METRICS, ("moved", "drift")) | {"inferences": ("least",), "late": ("tolerance",)}


@dataclass(frozen=True)
class Limits:
    """One metric's two limits: what is above `moved` is told, what is above `drift` fails."""

    moved: float
    drift: float


@dataclass(frozen=True)
class Thresholds:
    """metrics: by name, as METRICS. least_inferences: fewer sketched ones give no verdict.

    late: the share above the expected latency or energy at which a device is told.
    """

    metrics: Mapping[str, Limits]
    least_inferences: float
    late: float


def load_thresholds(path: Path | None = None) -> Thresholds:
    """The package's thresholds, with those of a TOML file on top; UsageError names what is wrong in it."""
    table = _parse(files("edgekit").joinpath("_field", "thresholds.toml").read_text(encoding="utf-8"), "")
    if path is not None:
        try:
            text = path.read_text(encoding="utf-8")
        except (OSError, ValueError) as error:
            raise UsageError(
                f"thresholds '{path}' cannot be read ({error})", fix="name a TOML file"
            ) from error
        table = {**table, **_parse(text, str(path))}
    metrics = {name: Limits(table[name]["moved"], table[name]["drift"]) for name in METRICS}
    return Thresholds(metrics, table["inferences"]["least"], table["late"]["tolerance"])


def _parse(text: str, name: str) -> dict[str, dict[str, Any]]:
    try:
        table = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"thresholds '{name}' are no TOML ({error})", fix="mend that line") from error
    if table.pop("schema", None) != 1:
        raise UsageError(f"thresholds '{name}': schema is not 1", fix="write `schema = 1` at the top")
    for part, row in table.items():
        _check(part, row, name)
    return table


def _check(part: str, row: object, name: str) -> None:
    if part not in _KEYS:
        near = get_close_matches(part, _KEYS, n=1)
        fix = f"did you mean [{near[0]}]?" if near else f"there are {', '.join(_KEYS)}"
        raise UsageError(f"thresholds '{name}': [{part}] is unknown", fix=fix)
    wanted = {*_KEYS[part], "source"}
    if not isinstance(row, dict) or set(row) != wanted or not row["source"]:
        raise UsageError(
            f"thresholds '{name}': [{part}] has not exactly {', '.join(sorted(wanted))}",
            fix="write all of them; a limit without its source can't be judged",
        )
    numbers = [row[key] for key in _KEYS[part]]
    if not all(isinstance(one, float) and one >= 0 for one in numbers) or numbers != sorted(numbers):
        raise UsageError(
            f"thresholds '{name}': [{part}] holds no floats from 0 on, `drift` not below `moved`",
            fix="write them as 0.25",
        )
