"""The limits of drift: loaded from thresholds.toml, with those of a user's file in their place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._recipe_file import read_table
from edgekit._recipe_values import refuse_unknown
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

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
    table = _read(Path(__file__).with_name("thresholds.toml"))
    if path is not None:
        table = {**table, **_read(path)}
    metrics = {name: Limits(table[name]["moved"], table[name]["drift"]) for name in METRICS}
    return Thresholds(metrics, table["inferences"]["least"], table["late"]["tolerance"])


def _read(path: Path) -> dict[str, dict[str, Any]]:
    table = read_table(path, "thresholds")
    refuse_unknown(table, tuple(_KEYS), f"table in '{path.name}':")
    for part, row in table.items():
        _check(part, row, path)
    return table


def _check(part: str, row: object, path: Path) -> None:
    wanted = {*_KEYS[part], "source"}
    if not isinstance(row, dict) or set(row) != wanted or not row["source"]:
        raise UsageError(
            f"thresholds '{path}': [{part}] has not exactly {', '.join(sorted(wanted))}",
            fix="write all of them; a limit without its source can't be judged",
        )
    numbers = [row[key] for key in _KEYS[part]]
    if not all(isinstance(one, float) and one >= 0 for one in numbers) or numbers != sorted(numbers):
        raise UsageError(
            f"thresholds '{path}': [{part}] holds no floats from 0 on, `drift` not below `moved`",
            fix="write them as 0.25",
        )
