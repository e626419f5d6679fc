"""Nested tables -> .ort bytes that follow from the content alone.

onnxruntime writes initializers, value infos and attributes in the order of a randomly seeded hash table, so
two conversions of one model differ; here each such vector is sorted and the file laid out anew.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgekit.targets.ort_mobile.ort_schema import load_schema
from edgekit.targets.ort_mobile.read_ort import read_ort

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit.targets.ort_mobile.ort_schema import Field, Kind, Schema, Table

# Weights start on a 16-byte boundary, so that a runtime may use them in place.
WEIGHT_ALIGNMENT = 16


def canonical_ort(data: bytes) -> bytes:
    """The same model with every unordered vector sorted: equal models give equal bytes."""
    return write_ort(_sorted(load_schema().root, read_ort(data), load_schema()))


def write_ort(root: Table) -> bytes:
    """The file whose root table is `root` (as `read_ort` gives it)."""
    schema = load_schema()
    writer = _Writer(schema)
    writer.patch(0, writer.table(schema.root, root))
    writer.finish_strings()
    return bytes(writer.out)


def _sorted(name: str, table: Table, schema: Schema) -> Table:
    result: Table = {}
    for field in schema.tables[name]:
        if field.name not in table:
            continue
        value, kind = table[field.name], field.kind
        if kind.form == "union":
            tag, member = value
            value = (tag, _sorted(kind.inner[tag - 1], member, schema))
        elif kind.form == "table":
            value = _sorted(kind.inner[0], value, schema)
        elif kind.element is not None and kind.element.form == "table":
            (inner,) = kind.element.inner
            value = [_sorted(inner, item, schema) for item in value]
            if field.order is not None:
                value = sorted(value, key=_field_or(field.order, schema.blank(inner, field.order)))
        result[field.name] = value
    return result


@dataclass(frozen=True)
class _Layout:
    """How a table with certain fields lies: its vtable, its bytes, and where each field goes, by size."""

    vtable: bytes
    size: int
    inline: tuple[tuple[Field, int], ...]
    behind: tuple[tuple[Field, int], ...]


class _Writer:
    """Appends tables parent first; strings go to the end, each once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.out = bytearray(4) + schema.identifier
        self.vtables: dict[bytes, int] = {}
        self.layouts: dict[tuple[str, tuple[bool, ...]], _Layout] = {}
        self.strings: dict[bytes, list[int]] = {}

    def align(self, size: int, ahead: int = 0) -> None:
        """Pad so that the byte `ahead` of the end lies on a multiple of `size`."""
        self.out += bytes(-(len(self.out) + ahead) % size)

    def patch(self, where: int, target: int) -> None:
        struct.pack_into("<I", self.out, where, target - where)

    def table(self, name: str, table: Table) -> int:
        layout = self._layout(name, table)
        if layout.vtable not in self.vtables:
            self.align(2)
            self.vtables[layout.vtable] = len(self.out)
            self.out += layout.vtable
        self.align(8)
        position = len(self.out)
        self.out += bytes(layout.size)
        struct.pack_into("<i", self.out, position, position - self.vtables[layout.vtable])
        for field, offset in layout.inline:
            value = table[field.name]
            number = value[0] if field.kind.form == "union" else value
            struct.pack_into(f"<{_code(field.kind)}", self.out, position + offset, number)
        for field, offset in layout.behind:
            value = table[field.name]
            if field.kind.form == "union":
                tag, member = value
                self.patch(position + offset, self.table(field.kind.inner[tag - 1], member))
            else:
                self._behind_offset(field.kind, value, position + offset)
        return position

    def _layout(self, name: str, table: Table) -> _Layout:
        fields = self.schema.tables[name]
        key = (name, tuple(field.name in table for field in fields))
        if key not in self.layouts:
            self.layouts[key] = _lay_out([field for field in fields if field.name in table])
        return self.layouts[key]

    def _behind_offset(self, kind: Kind, value: Any, where: int) -> None:
        if kind.form == "string":
            self.strings.setdefault(value, []).append(where)
        elif kind.form == "table":
            self.patch(where, self.table(kind.inner[0], value))
        else:
            self._vector(kind, value, where)

    def _vector(self, kind: Kind, value: Any, where: int) -> None:
        self.align(4)
        if kind.element is None:
            size = kind.size
            self.align(WEIGHT_ALIGNMENT if kind.code == "B" else min(size, 8) if size != 12 else 4, ahead=4)
            self.patch(where, len(self.out))
            self.out += struct.pack("<I", len(value) // size) + value
            return
        start = len(self.out)
        self.patch(where, start)
        self.out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for index, item in enumerate(value):
            self._behind_offset(kind.element, item, start + 4 + 4 * index)

    def finish_strings(self) -> None:
        """Write each distinct string once, after everything that points at it."""
        for text, users in self.strings.items():
            self.align(4)
            for where in users:
                self.patch(where, len(self.out))
            self.out += struct.pack("<I", len(text)) + text + b"\0"


def _field_or(key: str, blank: bytes | int) -> Callable[[Table], Any]:
    """A sort key: the field `key` of a table, `blank` where it is absent."""
    return lambda item: item.get(key, blank)


def _lay_out(fields: Sequence[Field]) -> _Layout:
    """Small fields first; what has no code is an offset of 4 bytes."""
    rows = [(field.slot, _code(field.kind), field) for field in fields]
    rows += [(field.slot + 1, "", field) for field in fields if field.kind.form == "union"]
    offsets = [0] * (max((row[0] for row in rows), default=-1) + 1)
    size = 4
    for slot, code, _ in sorted(rows, key=lambda row: (_size(row[1]), row[0])):
        size += -size % _size(code)
        offsets[slot] = size
        size += _size(code)
    placed = [(field, offsets[slot], code) for slot, code, field in sorted(rows, key=lambda row: row[0])]
    return _Layout(
        vtable=struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), size, *offsets),
        size=size,
        inline=tuple((field, offset) for field, offset, code in placed if code),
        behind=tuple((field, offset) for field, offset, code in placed if not code),
    )


def _code(kind: Kind) -> str:
    """The struct code of what lies inline: a scalar, or a union's tag."""
    return "B" if kind.form == "union" else kind.code if kind.form == "scalar" else ""


def _size(code: str) -> int:
    return struct.calcsize(f"<{code or 'I'}")
