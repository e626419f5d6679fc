"""Which MIL operations a deployment target has, and what dtypes their operands take there."""

from __future__ import annotations

import tomllib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._lowering import Refused

if TYPE_CHECKING:
    from collections.abc import Mapping

Row = dict[str, tuple[str, ...]]
LEVELS = (15, 16, 17, 18)


@cache
def table() -> dict[int, dict[str, Row]]:
    """Deployment target (the number in iOS17) -> operation -> operand -> dtypes, as the file says."""
    text = (Path(__file__).parent / "operators.toml").read_text(encoding="utf-8")
    return {
        int(level.removeprefix("ios")): {
            name: {operand: tuple(dtypes) for operand, dtypes in row.items()} for name, row in rows.items()
        }
        for level, rows in tomllib.loads(text).items()
    }


def operand_dtypes(code: str, level: int) -> Row:
    """Operand -> dtypes that the operation takes at this target. Raises Refused where it is missing there."""
    row = _row(code, level)
    if row is None:
        first = next(item for item in LEVELS if code in table()[item])
        raise Refused(*needs(f"the operation '{code}'", first, level))
    return row


@cache
def _row(code: str, level: int) -> Row | None:
    found = [table()[item][code] for item in LEVELS if item <= level and code in table()[item]]
    return {key: dtypes for row in found for key, dtypes in row.items()} if found else None


def needs(what: str, first: int, level: int) -> tuple[str, str]:
    """(rule, way out) for something that only a newer deployment target has."""
    return (
        f"{what} needs {systems(first)}, and the deployment target is {systems(level)}",
        f"deploy to {systems(first)} or newer, with --target DEVICE@ios-{first} (or macos-{first - 3})",
    )


def systems(level: int) -> str:
    """iOS 17 and macOS 14 share one operation set; iOS 26 and macOS 26 do."""
    return f"iOS {level} / macOS {level if level >= 26 else level - 3}"


def check_operands(code: str, level: int, operands: Mapping[str, str]) -> None:
    """Refused where an operand's dtype is not one that the operation takes at this target."""
    row = operand_dtypes(code, level)
    for name, dtype in operands.items():
        if name in row and dtype not in row[name]:
            newer = next((item for item in LEVELS if item > level and _takes(code, item, name, dtype)), None)
            if newer is not None:
                raise Refused(*needs(f"'{code}' on {dtype}", newer, level))
            raise Refused(
                f"Core ML's '{code}' takes no {dtype}", "cast the tensor to float32 or int32 before export"
            )


def _takes(code: str, level: int, operand: str, dtype: str) -> bool:
    return dtype in (_row(code, level) or {}).get(operand, ())
