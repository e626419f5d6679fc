""".ort bytes -> nested tables, for counting and for putting the file into canonical order."""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any

from edgekit.errors import TargetError
from edgekit.targets.ort_mobile.ort_schema import load_schema

if TYPE_CHECKING:
    from edgekit.targets.ort_mobile.ort_schema import Kind, Schema, Table

_WAY_OUT = "build with an onnxruntime version that edgekit names in `edgekit doctor`"


def read_ort(data: bytes) -> Table:
    """The root table of a .ort file; raises TargetError for anything the schema does not cover."""
    schema = load_schema()
    if len(data) < 8 or data[4:8] != schema.identifier:
        raise TargetError("the file is not in .ort format", fix="convert the model again")
    reader = _Reader(data, schema)
    try:
        root = reader.table(schema.root, reader.uint32(0))
    except (struct.error, IndexError, RecursionError) as error:
        raise TargetError("the .ort file is damaged", fix="convert the model again") from error
    if root.get("ort_version") != schema.format_version:
        raise TargetError(
            f"the .ort format version is {root.get('ort_version')!r}, and edgekit knows "
            f"{schema.format_version!r}",
            fix=_WAY_OUT,
        )
    return root


class _Reader:
    """Walks one buffer; positions are byte offsets from its start."""

    def __init__(self, data: bytes, schema: Schema) -> None:
        self.data = data
        self.schema = schema
        self.layouts: dict[tuple[str, int], tuple[int, ...]] = {}

    def uint32(self, position: int) -> int:
        return int(struct.unpack_from("<I", self.data, position)[0])

    def table(self, name: str, position: int) -> Table:
        vtable = position - int(struct.unpack_from("<i", self.data, position)[0])
        offsets = self.offsets(name, vtable)
        count = len(offsets)
        result: Table = {}
        for field in self.schema.tables[name]:
            if field.slot < count and offsets[field.slot]:
                result[field.name] = self.field(field.kind, position, offsets, field.slot)
        return result

    def offsets(self, name: str, vtable: int) -> tuple[int, ...]:
        """Where the fields of a table lie, by slot; many tables share one such list."""
        key = (name, vtable)
        if key not in self.layouts:
            size = int(struct.unpack_from("<H", self.data, vtable)[0])
            found = struct.unpack_from(f"<{(size - 4) // 2}H", self.data, vtable + 4)
            known = self.schema.slots[name]
            if any(offset and slot not in known for slot, offset in enumerate(found)):
                raise TargetError(
                    f"table {name} of the .ort file has a field edgekit does not know", fix=_WAY_OUT
                )
            self.layouts[key] = found
        return self.layouts[key]

    def field(self, kind: Kind, position: int, offsets: tuple[int, ...], slot: int) -> Any:
        where = position + offsets[slot]
        if kind.form == "union":
            tag = self.data[where]
            value = position + offsets[slot + 1]
            return (tag, self.table(kind.inner[tag - 1], value + self.uint32(value)))
        if kind.form == "scalar":
            return struct.unpack_from(f"<{kind.code}", self.data, where)[0]
        return self.behind_offset(kind, where + self.uint32(where))

    def behind_offset(self, kind: Kind, position: int) -> Any:
        if kind.form == "string":
            return self.slice(position + 4, self.uint32(position))
        if kind.form == "table":
            return self.table(kind.inner[0], position)
        count = self.uint32(position)
        if kind.element is None:
            return self.slice(position + 4, count * kind.size)
        starts = range(position + 4, position + 4 + 4 * count, 4)
        return [self.behind_offset(kind.element, start + self.uint32(start)) for start in starts]

    def slice(self, start: int, size: int) -> bytes:
        if start + size > len(self.data):
            raise IndexError(start)
        return self.data[start : start + size]
