"""Check where a model's external tensors point, before a byte of them is read."""

from __future__ import annotations

from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgekit.errors import SourceError
from edgekit.sources.shape_only import LOCATION, MOST_BYTES, is_float

if TYPE_CHECKING:
    from collections.abc import Iterator

_TOGETHER = "put the weights file into the model's own folder and export with relative paths"


def check_external_files(proto: onnx.ModelProto, path: Path) -> list[Path]:
    """The external data files of the model at `path`, in name order.

    Raises SourceError for a location outside the model's folder (absolute, climbing, by symlink), a missing
    file, an offset or length beyond the file's end, and inline data that don't fill their tensor.
    """
    files: dict[str, Path] = {}
    for tensor in all_tensors(proto):
        if tensor.data_location != onnx.TensorProto.EXTERNAL:
            _check_inline(tensor, path)
            continue
        entries = {entry.key: entry.value for entry in tensor.external_data}
        location = entries.get("location", "")
        if location == LOCATION:
            if not is_float(tensor.data_type) or _tensor_bytes(tensor) > MOST_BYTES:
                raise SourceError(
                    f"{path}: tensor '{tensor.name}' has no values", fix="export the model again"
                )
            continue
        if location not in files:
            files[location] = _inside(location, tensor.name, path)
        _check_extent(tensor, entries, files[location])
    return [files[location] for location in sorted(files)]


def all_tensors(proto: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """Every tensor of a model: initializers and attributes, of subgraphs and functions too."""
    yield from _graph_tensors(proto.graph)
    for function in proto.functions:
        yield from _node_tensors(function.node)


def _graph_tensors(graph: onnx.GraphProto) -> Iterator[onnx.TensorProto]:
    yield from graph.initializer
    for sparse in graph.sparse_initializer:
        yield from (sparse.values, sparse.indices)
    yield from _node_tensors(graph.node)


def _node_tensors(nodes: object) -> Iterator[onnx.TensorProto]:
    for node in nodes:  # type: ignore[attr-defined]
        for attribute in node.attribute:
            if attribute.HasField("t"):
                yield attribute.t
            yield from attribute.tensors
            if attribute.HasField("g"):
                yield from _graph_tensors(attribute.g)
            for graph in attribute.graphs:
                yield from _graph_tensors(graph)


def _inside(location: str, tensor: str, path: Path) -> Path:
    windows = PureWindowsPath(location)
    climbs = ".." in windows.parts or ".." in PurePosixPath(location).parts
    if not location or "\0" in location or climbs or windows.drive or windows.root:
        raise SourceError(
            f"{path}: tensor '{tensor}' points to '{location}', which isn't a path inside the model's folder",
            fix=_TOGETHER,
        )
    folder = path.parent.resolve()
    file = (folder / location).resolve()
    if not file.is_relative_to(folder):
        raise SourceError(
            f"{path}: tensor '{tensor}' points to '{location}', a link that leaves the model's folder",
            fix=_TOGETHER,
        )
    if not file.is_file():
        raise SourceError(
            f"{path}: external data file '{location}' (tensor '{tensor}') is missing",
            fix=f"copy it to {path.parent}",
        )
    return file


def _check_extent(tensor: onnx.TensorProto, entries: dict[str, str], file: Path) -> None:
    fix = "export the model again, or copy the whole weights file"
    needed = _tensor_bytes(tensor)
    try:
        offset = int(entries.get("offset") or 0)
        length = int(entries["length"]) if entries.get("length") else needed
    except ValueError as error:
        raise SourceError(
            f"tensor '{tensor.name}': offset or length of its external data is no number", fix=fix
        ) from error
    size = file.stat().st_size
    if offset < 0 or length < 0 or offset + length > size:
        raise SourceError(
            f"tensor '{tensor.name}' lies at bytes {offset}..{offset + length} of {file.name}, "
            f"which has {size} bytes",
            fix=fix,
        )
    if length != needed:
        raise SourceError(
            f"tensor '{tensor.name}' needs {needed} bytes for its shape and dtype, its entry says {length}",
            fix=fix,
        )


def _check_inline(tensor: onnx.TensorProto, path: Path) -> None:
    if tensor.HasField("raw_data"):
        check_inline_size(tensor, len(tensor.raw_data), path)


def check_inline_size(tensor: onnx.TensorProto, size: int, path: Path) -> None:
    """Raises SourceError where `size` bytes of raw data do not fill the tensor."""
    if size != _tensor_bytes(tensor):
        raise SourceError(
            f"{path}: tensor '{tensor.name}' needs {_tensor_bytes(tensor)} bytes for its shape and dtype "
            f"and holds {size}",
            fix="export the model again",
        )


def _tensor_bytes(tensor: onnx.TensorProto) -> int:
    elements = 1
    for dim in tensor.dims:
        if dim < 0:
            raise SourceError(f"tensor '{tensor.name}' has a negative dim", fix="export the model again")
        elements *= dim
    try:
        bits = int(ir.DataType(tensor.data_type).itemsize * 8)
    except (ValueError, KeyError, TypeError) as error:
        raise SourceError(
            f"tensor '{tensor.name}' has data type {tensor.data_type}, which has no fixed size",
            fix="export the model with numeric tensors",
        ) from error
    return -(-elements * bits // 8)
