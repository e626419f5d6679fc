"""The schema of .ort files, read once from ort_schema.toml."""

from __future__ import annotations

import struct
import tomllib
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any, Literal, TypeAlias

# A table of the file: field name -> scalar, str bytes, Table, list of these, or raw bytes of a scalar vector.
# A union is (tag, Table).
Table: TypeAlias = dict[str, Any]


Form = Literal["scalar", "union", "string", "table", "numbers", "vector", "deprecated"]


@dataclass(frozen=True)
class Kind:
    """What a field or element is: `inner` names a table or a union's members, `element` a vector's entries.

    code: a scalar's struct code. size: bytes of a scalar, or of one entry of `numbers` (scalars, structs).
    """

    form: Form
    code: str = ""
    size: int = 0
    inner: tuple[str, ...] = ()
    element: Kind | None = None


@dataclass(frozen=True)
class Field:
    """One field of a table; `order` is the field that sorts its vector where the order means nothing."""

    name: str
    slot: int
    kind: Kind
    order: str | None


@dataclass(frozen=True)
class Schema:
    """Tables with their fields by slot, and the slots that each may use."""

    tables: dict[str, tuple[Field, ...]]
    slots: dict[str, frozenset[int]]
    root: str
    identifier: bytes
    format_version: bytes

    def blank(self, table: str, field: str) -> bytes | int:
        """What an absent scalar or string field of `table` stands for."""
        kinds = {row.name: row.kind.form for row in self.tables[table]}
        return b"" if kinds[field] == "string" else 0


@cache
def load_schema() -> Schema:
    """The schema that ort_schema.toml describes."""
    data = tomllib.loads((Path(__file__).parent / "ort_schema.toml").read_text(encoding="utf-8"))
    tables = {name: _fields(name, fields, data) for name, fields in data["tables"].items()}
    return Schema(
        tables=tables,
        slots={name: _used_slots(fields) for name, fields in tables.items()},
        root=data["root"],
        identifier=data["identifier"].encode(),
        format_version=data["format_version"].encode(),
    )


def _fields(table: str, fields: dict[str, str], data: dict[str, Any]) -> tuple[Field, ...]:
    rows: list[Field] = []
    slot = 0
    for name, text in fields.items():
        kind = _kind(text, data)
        rows.append(Field(name, slot, kind, data["order"].get(f"{table}.{name}")))
        slot += 2 if kind.form == "union" else 1
    return tuple(rows)


def _used_slots(fields: tuple[Field, ...]) -> frozenset[int]:
    """A union uses two: its tag's and its member's."""
    own = {field.slot for field in fields if field.kind.form != "deprecated"}
    return frozenset(own | {field.slot + 1 for field in fields if field.kind.form == "union"})


def _kind(text: str, data: dict[str, Any]) -> Kind:
    if text in ("string", "deprecated"):
        return Kind("string" if text == "string" else "deprecated")
    if text.startswith("union "):
        return Kind("union", inner=tuple(data["unions"][text.removeprefix("union ")]))
    if text in data["scalars"]:
        code = data["scalars"][text]
        return Kind("scalar", code, struct.calcsize(f"<{code}"))
    return _vector(text[1:-1], data) if text.startswith("[") else Kind("table", inner=(text,))


def _vector(inner: str, data: dict[str, Any]) -> Kind:
    if inner in data["structs"]:
        return Kind("numbers", size=data["structs"][inner])
    element = _kind(inner, data)
    if element.form == "scalar":
        return Kind("numbers", element.code, element.size)
    return Kind("vector", element=element)
