"""Reads the fitted coefficients of profiles/fits; refuses keys it does not know and broken bands."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from functools import cache
from pathlib import Path
from typing import Any

from edgekit.errors import TargetError

FOLDER = Path(__file__).parent / "fits"


@dataclass(frozen=True)
class Fit:
    """predicted = scale * known, 80 % of held-out points between low and high times it.

    error, coverage: of the points when each model is held out; width: high over low; source, fitted: of
    the data; least_gmacs: of the smallest model in it (0: any).
    """

    low: float
    scale: float
    high: float
    points: int
    error: float
    coverage: float
    width: float
    source: str
    fitted: str
    least_gmacs: float = 0.0


@cache
def sibling_fits() -> dict[tuple[str, str, str], Fit]:
    """(from device, to device, precision) -> the scale of latencies on their NPUs."""
    table = _read("siblings")
    shared = {"source": table.pop("source"), "fitted": table.pop("fitted")}
    return {
        (row.pop("from"), row.pop("to"), row.pop("precision")): make_fit(row | shared, "siblings.toml")
        for row in table["pair"]
    }


@cache
def toolchain_fit(toolchain: str) -> Fit | None:
    """How many times the roofline this toolchain's devices take; None where nothing was fitted."""
    if not (FOLDER / f"{toolchain}.toml").is_file():
        return None
    return make_fit(_read(toolchain), f"{toolchain}.toml")


def make_fit(row: dict[str, Any], where: str) -> Fit:
    """The checked row; TargetError names a key that is unknown or missing, and a band that is none."""
    known = {field.name for field in fields(Fit)}
    wrong = sorted((known ^ row.keys()) - ({"least_gmacs"} - row.keys()))
    if wrong:
        raise TargetError(f"{where}: '{wrong[0]}' is unknown or missing", fix="run scripts/fit again")
    fit = Fit(**row)
    if not 0 < fit.low <= fit.scale <= fit.high:
        raise TargetError(f"{where}: {fit.low}..{fit.high} is no band", fix="run scripts/fit again")
    return fit


def _read(name: str) -> dict[str, Any]:
    return tomllib.loads((FOLDER / f"{name}.toml").read_text(encoding="utf-8"))
