"""The schema of .ort files, read once from ort_schema.toml."""

from __future__ import annotations

import struct
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, TypeAlias

# A table of the file: field name -> scalar, str bytes, Table, list of these, or raw bytes of a scalar vector.
# A union is (tag, Table).
Table: TypeAlias = dict[str, Any]


@dataclass(frozen=True)
class Schema:
    """Tables with their (field, kind, slot), and how scalars, structs and unions are laid out."""

    tables: dict[str, tuple[tuple[str, str, int], ...]]
    scalars: dict[str, str]
    structs: dict[str, int]
    unions: dict[str, list[str]]
    order: dict[str, str]
    root: str
    identifier: bytes
    format_version: bytes

    def blank(self, table: str, field: str) -> bytes | int:
        """What an absent scalar or string field of `table` stands for."""
        kinds = {name: kind for name, kind, _ in self.tables[table]}
        return b"" if kinds[field] == "string" else 0

    def element_size(self, kind: str) -> int | None:
        """Bytes of one inline element (scalar or struct); None for what lies behind an offset."""
        if kind in self.scalars:
            return struct.calcsize(f"<{self.scalars[kind]}")
        return self.structs.get(kind)


@cache
def load_schema() -> Schema:
    """The schema that ort_schema.toml describes."""
    data = tomllib.loads((Path(__file__).parent / "ort_schema.toml").read_text(encoding="utf-8"))
    return Schema(
        tables={name: _slots(fields) for name, fields in data["tables"].items()},
        scalars=data["scalars"],
        structs=data["structs"],
        unions=data["unions"],
        order=data["order"],
        root=data["root"],
        identifier=data["identifier"].encode(),
        format_version=data["format_version"].encode(),
    )


def _slots(fields: dict[str, str]) -> tuple[tuple[str, str, int], ...]:
    rows = []
    slot = 0
    for name, kind in fields.items():
        rows.append((name, kind, slot))
        slot += 2 if kind.startswith("union ") else 1
    return tuple(rows)
