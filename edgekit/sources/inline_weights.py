"""An ONNX file's large weights stay in the file: what is parsed is the message without them.

Where they lie is read off the bytes by protobuf's own rules (https://protobuf.dev/programming-guides/encoding/).
What is not written as every exporter writes it, or is damaged, is left to protobuf's parser as it stands.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnx_ir as ir

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

# Below these a copy in memory costs less than a mapping.
LEAST_FILE_BYTES, LEAST_WEIGHT_BYTES = 16 << 20, 1 << 16
# Field numbers of onnx.proto: of a model, a graph, a tensor.
_GRAPH, _INITIALIZER, _RAW_DATA = 7, 5, 9
# Wire types: how a field's value is written.
_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_VARINT_BYTES = 10


@dataclass(frozen=True)
class Place:
    """Where a weight's numbers lie in the file."""

    begin: int
    size: int


@dataclass(frozen=True)
class _Field:
    """One field of a message: from its key to its end, the content behind `begin` where it is bytes."""

    number: int
    key: int
    begin: int
    end: int


class _UnusualError(Exception):
    """A message in a form that is left to protobuf's parser."""


def read_without_weights(path: Path) -> tuple[bytes, dict[int, Place]]:
    """(the message to parse, where the numbers of each initializer lie that were left out of it).

    Initializers by their place in the main graph. Nothing is left out of a small file, nor of one of several
    links to the same bytes, which onnx_ir refuses to map. Raises OSError.
    """
    status = path.stat()
    if status.st_size < LEAST_FILE_BYTES or status.st_nlink != 1:
        return path.read_bytes(), {}
    with path.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        try:
            return _cut_model(data)
        except _UnusualError:
            return data[:], {}


def refer_to_weights(model: ir.Model, names: Mapping[str, Place], path: Path) -> None:
    """Let the initializers named lie in the file at these places; each must have the size of its shape."""
    file = path.resolve()
    for name, place in names.items():
        value = model.graph.initializers[name]
        held = value.const_value
        if held is None or isinstance(held, ir.ExternalTensor):
            continue  # what is said to lie in another file does, whatever is here besides
        value.const_value = ir.ExternalTensor(
            file.name,
            place.begin,
            place.size,
            held.dtype,
            shape=ir.Shape(held.shape.numpy()),
            name=name,
            doc_string=held.doc_string if isinstance(held.doc_string, str) else None,
            metadata_props=dict(held.metadata_props),
            base_dir=file.parent,
        )


def _cut_model(data: mmap.mmap) -> tuple[bytes, dict[int, Place]]:
    fields = list(_fields(data, 0, len(data)))
    graphs = [field for field in fields if field.number == _GRAPH]
    if len(graphs) != 1:
        raise _UnusualError
    graph, (content, places) = graphs[0], _cut_graph(data, graphs[0])
    head, tail = data[: graph.key], data[graph.end :]
    return b"".join([head, *_written(_GRAPH, content), tail]), places


def _cut_graph(data: mmap.mmap, graph: _Field) -> tuple[bytes, dict[int, Place]]:
    parts, places, copied, index = list[bytes](), dict[int, Place](), graph.begin, 0
    for field in _fields(data, graph.begin, graph.end):
        if field.number != _INITIALIZER:
            continue
        raw = [one for one in _fields(data, field.begin, field.end) if one.number == _RAW_DATA]
        if len(raw) == 1 and raw[0].end - raw[0].begin >= LEAST_WEIGHT_BYTES:
            places[index] = Place(raw[0].begin, raw[0].end - raw[0].begin)
            rest = data[field.begin : raw[0].key] + data[raw[0].end : field.end]
            parts += [data[copied : field.key], *_written(_INITIALIZER, rest)]
            copied = field.end
        index += 1
    return b"".join([*parts, data[copied : graph.end]]), places


def _written(number: int, content: bytes) -> tuple[bytes, bytes, bytes]:
    """A field of bytes: key, length, content."""
    return _as_varint(number << 3 | _BYTES), _as_varint(len(content)), content


def _as_varint(number: int) -> bytes:
    made = bytearray()
    while number > 127:
        made.append(number & 127 | 128)
        number >>= 7
    made.append(number)
    return bytes(made)


def _fields(data: mmap.mmap, place: int, end: int) -> Iterator[_Field]:
    """The fields of a message that are written as bytes; the others are skipped."""
    while place < end:
        start = place
        key, place = _varint(data, place, end)
        number, kind = key >> 3, key & 7
        if kind == _VARINT:
            _, place = _varint(data, place, end)
        elif kind in (_FIXED64, _FIXED32):
            place += 8 if kind == _FIXED64 else 4
        elif kind == _BYTES:
            size, begin = _varint(data, place, end)
            place = begin + size
            if place <= end:
                yield _Field(number, start, begin, place)
        else:
            raise _UnusualError
        if place > end or number == 0:
            raise _UnusualError


def _varint(data: mmap.mmap, place: int, end: int) -> tuple[int, int]:
    """(number, where it ends)."""
    number = 0
    for index in range(min(_VARINT_BYTES, end - place)):
        byte = data[place + index]
        number |= (byte & 127) << (7 * index)
        if byte < 128:
            return number, place + index + 1
    raise _UnusualError
