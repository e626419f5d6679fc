"""The rows of neural_engine.toml: what public sources say of the Neural Engine."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import TargetError

_FILE = "neural_engine.toml"


@dataclass(frozen=True)
class Rule:
    """One row; its fields are explained in the TOML. `sources` are the links themselves."""

    name: str
    check: str
    says: str
    way_out: str
    sources: tuple[str, ...]
    ops: tuple[str, ...] = ()
    input: int | None = None
    attribute: str = ""
    above: int = 0
    allowed: tuple[str | int, ...] = ()
    least: int = 0

    def __post_init__(self) -> None:
        if "likely" not in self.says or not self.sources:
            raise TargetError(
                f"{_FILE}: {self.name} does not say 'likely' or names no source", fix="mend the row"
            )


@cache
def load_rules() -> tuple[Rule, ...]:
    """Every row in the file's order. TargetError for an unknown field or source."""
    data = tomllib.loads(Path(__file__).with_name(_FILE).read_text(encoding="utf-8"))
    return tuple(_rule(name, row, data["sources"]) for name, row in data["rules"].items())


def _rule(name: str, row: dict[str, Any], links: dict[str, str]) -> Rule:
    fields: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value for key, value in row.items()
    }
    try:
        return Rule(name=name, **{**fields, "sources": tuple(links[key] for key in row["sources"])})
    except (KeyError, TypeError) as error:
        raise TargetError(f"{_FILE}: {name}: {error}", fix="mend the row") from error
