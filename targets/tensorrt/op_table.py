"""Which operators a TensorRT version parses; a version without a table is unknown and never extrapolated."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

ANY_TYPE = frozenset({"any"})


@dataclass(frozen=True)
class OpTable:
    """The operator table used for one TensorRT version.

    `version` is the table's own; `asked` the version wanted. They differ where no table is known
    for `asked`: then the newest table below it is told as the last known, and what it says
    about `asked` is a warning, never a verdict.
    """

    asked: str
    version: str
    max_opset: int
    ops: Mapping[str, frozenset[str]]

    @property
    def is_exact(self) -> bool:
        return self.asked == self.version

    def types(self, op: str) -> frozenset[str]:
        """ONNX-TensorRT type names (`FP32`, `INT64` ...) that the op takes; empty: refused or not listed."""
        return self.ops.get(op, frozenset())


def version_key(version: str) -> tuple[int, ...]:
    """`10.3.1` -> (10, 3), so that 10.15 is above 10.3. Raises TargetError for what is no version."""
    parts = version.split(".")[:2]
    if not all(part.isdecimal() for part in parts):
        raise TargetError(f"'{version}' is no TensorRT version", fix="write it as MAJOR.MINOR")
    return tuple(int(part) for part in parts)


@cache
def table_for(version: str) -> OpTable:
    """The table of `version`, or the newest one below it. Raises TargetError below the first table."""
    data = _read()
    wanted = version_key(version)
    known = [name for name in data["versions"] if version_key(name) <= wanted]
    if not known:
        raise TargetError(
            f"TensorRT {version} is older than the first operator table ({data['versions'][0]})",
            fix="choose a newer software version",
        )
    chosen = max(known, key=version_key)
    asked = chosen if version_key(chosen) == wanted else version
    ops = {op: _types_at(row, chosen) for op, row in data["ops"].items()}
    return OpTable(asked, chosen, data["max_opset"][chosen], ops)


def _types_at(row: Mapping[str, str], version: str) -> frozenset[str]:
    """The row's entry in force at `version`."""
    until = [name for name in row if version_key(name) <= version_key(version)]
    return frozenset(row[max(until, key=version_key)].split()) if until else frozenset()


@cache
def _read() -> dict[str, Any]:
    return tomllib.loads(Path(__file__).with_name("op_table.toml").read_text(encoding="utf-8"))
