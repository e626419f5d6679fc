"""Writes the .tflite file: one flatbuffer or, where that grows too large, the weights streamed behind it.

In the second form a Buffer holds no bytes but says at which offset of the file they lie; LiteRT maps them
from there, so a file may pass the 2 GB that a flatbuffer's offsets reach.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.targets.litert.buffer_bytes import byte_pieces, count_bytes
from edgekit.targets.litert.options import LARGEST_BYTES
from edgekit.targets.litert.write_tflite import (
    ModelWriter,
    constant_bytes,
    inline_buffer,
    load_schema,
    pack_model,
    write_tflite,
)

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from edgekit.targets.litert.graph import Graph

_ALIGNMENT = 64  # bytes: what XNNPACK's vector loads like, and a multiple of the schema's 16
_SMALLEST = 64  # bytes: shapes, axes and scalars stay in the flatbuffer
_NOT_YET = 2**40  # an offset that is written in full: 0 and 1 mean "no external bytes"


def save_tflite(graph: Graph, path: Path, *, description: str, inline_bytes: int = LARGEST_BYTES) -> int:
    """Write the graph; returns how many bytes of weights lie behind the flatbuffer (0: all inside it).

    inline_bytes: the most that goes inside.
    """
    if constant_bytes(graph) <= inline_bytes:
        path.write_bytes(write_tflite(graph, description=description))
        return 0
    store = _Behind(load_schema())
    model = ModelWriter(store.schema, graph, store.buffer).model(description)
    size = len(pack_model(model, 0))
    total = store.place(size)
    head = pack_model(model, 0)
    if len(head) != size:
        raise RuntimeError(f"the flatbuffer changed its size from {size} to {len(head)} with its offsets")
    with path.open("wb") as file:
        file.write(head)
        for buffer, data in store.kept:
            file.write(b"\0" * (buffer.offset - file.tell()))
            for piece in byte_pieces(data):
                file.write(piece)
    return total


class _Behind:
    """Buffers whose bytes lie behind the flatbuffer, in the order they were asked for."""

    def __init__(self, schema: Any) -> None:
        self.schema = schema
        self.kept: list[tuple[Any, NDArray[Any]]] = []

    def buffer(self, data: NDArray[Any]) -> Any:
        size = count_bytes(data)
        if size < _SMALLEST:
            return inline_buffer(self.schema, data)
        table = self.schema.BufferT()
        table.offset, table.size = _NOT_YET, size
        self.kept.append((table, data))
        return table

    def place(self, start: int) -> int:
        """Give every buffer its offset in the file; how many bytes they are."""
        for table, _ in self.kept:
            table.offset = start = -(-start // _ALIGNMENT) * _ALIGNMENT
            start += table.size
        return sum(table.size for table, _ in self.kept)
