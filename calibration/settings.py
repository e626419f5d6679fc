"""The calibration room's limits and defaults, read once from settings.toml and observers.toml."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import Any


@cache
def read_settings(name: str) -> dict[str, dict[str, Any]]:
    """The tables of `<name>.toml` in this folder; `..._reason` keys say why."""
    return tomllib.loads((Path(__file__).parent / f"{name}.toml").read_text(encoding="utf-8"))


def get_number(table: str, key: str) -> float:
    """One number of settings.toml."""
    return float(read_settings("settings")[table][key])


def get_count(table: str, key: str) -> int:
    """One whole number of settings.toml."""
    return int(read_settings("settings")[table][key])
