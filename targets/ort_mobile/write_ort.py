"""Nested tables -> .ort bytes that follow from the content alone.

onnxruntime writes initializers, value infos and attributes in the order of a randomly seeded hash table, so
two conversions of one model differ; here each such vector is sorted and the file laid out anew.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from edgekit.targets.ort_mobile.ort_schema import load_schema
from edgekit.targets.ort_mobile.read_ort import read_ort

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.targets.ort_mobile.ort_schema import Schema, Table

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
    for field, kind, _ in schema.tables[name]:
        if field not in table:
            continue
        value = table[field]
        if kind.startswith("union "):
            tag, member = value
            value = (tag, _sorted(schema.unions[kind.removeprefix("union ")][tag - 1], member, schema))
        elif kind in schema.tables:
            value = _sorted(kind, value, schema)
        elif kind[1:-1] in schema.tables:
            value = [_sorted(kind[1:-1], item, schema) for item in value]
            key = schema.order.get(f"{name}.{field}")
            if key is not None:
                blank = schema.blank(kind[1:-1], key)
                value = sorted(value, key=_field_or(key, blank))
        result[field] = value
    return result


class _Writer:
    """Appends tables parent first; strings go to the end, each once."""

    def __init__(self, schema: Schema) -> None:
        self.schema = schema
        self.out = bytearray(4) + schema.identifier
        self.vtables: dict[bytes, int] = {}
        self.strings: dict[bytes, list[int]] = {}

    def align(self, size: int, ahead: int = 0) -> None:
        """Pad so that the byte `ahead` of the end lies on a multiple of `size`."""
        self.out += bytes(-(len(self.out) + ahead) % size)

    def patch(self, where: int, target: int) -> None:
        struct.pack_into("<I", self.out, where, target - where)

    def table(self, name: str, table: Table) -> int:
        rows = self._inline_rows(name, table)
        offsets, size = _lay_out(rows)
        vtable = struct.pack(f"<HH{len(offsets)}H", 4 + 2 * len(offsets), size, *offsets)
        if vtable not in self.vtables:
            self.align(2)
            self.vtables[vtable] = len(self.out)
            self.out += vtable
        self.align(8)
        position = len(self.out)
        self.out += bytes(size)
        struct.pack_into("<i", self.out, position, position - self.vtables[vtable])
        for slot, code, value, _ in rows:
            if code:
                struct.pack_into(f"<{code}", self.out, position + offsets[slot], value)
        for slot, code, value, kind in rows:
            if not code:
                self._behind_offset(kind, value, position + offsets[slot])
        return position

    def _inline_rows(self, name: str, table: Table) -> list[tuple[int, str, Any, str]]:
        """(slot, struct code or '' for an offset, value, kind) of every field present."""
        rows: list[tuple[int, str, Any, str]] = []
        for field, kind, slot in self.schema.tables[name]:
            if field not in table:
                continue
            value = table[field]
            if kind.startswith("union "):
                tag, member = value
                rows.append((slot, "B", tag, "uint8"))
                rows.append((slot + 1, "", member, self.schema.unions[kind.removeprefix("union ")][tag - 1]))
            else:
                rows.append((slot, self.schema.scalars.get(kind, ""), value, kind))
        return rows

    def _behind_offset(self, kind: str, value: Any, where: int) -> None:
        if kind == "string":
            self.strings.setdefault(value, []).append(where)
        elif kind.startswith("["):
            self._vector(kind[1:-1], value, where)
        else:
            self.patch(where, self.table(kind, value))

    def _vector(self, inner: str, value: Any, where: int) -> None:
        size = self.schema.element_size(inner)
        if size is not None:
            self.align(4)
            self.align(WEIGHT_ALIGNMENT if inner == "uint8" else min(size, 8) if size != 12 else 4, ahead=4)
            self.patch(where, len(self.out))
            self.out += struct.pack("<I", len(value) // size) + value
            return
        self.align(4)
        start = len(self.out)
        self.patch(where, start)
        self.out += struct.pack("<I", len(value)) + bytes(4 * len(value))
        for index, item in enumerate(value):
            self._behind_offset(inner, item, start + 4 + 4 * index)

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


def _lay_out(rows: list[tuple[int, str, Any, str]]) -> tuple[list[int], int]:
    """Offset of each slot from the table's start (0: absent), and the table's size in bytes."""
    offsets = [0] * (max((row[0] for row in rows), default=-1) + 1)
    size = 4
    for slot, code, _, _ in sorted(rows, key=lambda row: (_size(row[1]), row[0])):
        size += -size % _size(code)
        offsets[slot] = size
        size += _size(code)
    return offsets, size


def _size(code: str) -> int:
    return struct.calcsize(f"<{code or 'I'}")
