"""Load an ONNX file as a component: every hostile or broken file is refused before its data are used."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir
from google.protobuf.message import DecodeError

from edgekit._values import Component
from edgekit.errors import SourceError
from edgekit.sources._external_files import check_external_files, check_inline_size
from edgekit.sources._graph_rules import check_graph
from edgekit.sources._weight_values import check_weight_values
from edgekit.sources.drawn_weights import draw_weights
from edgekit.sources.inline_weights import read_without_weights, refer_to_weights
from edgekit.sources.shape_only import mark_shape_only

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgekit.sources.inline_weights import Place

# A protobuf message cannot be larger (https://protobuf.dev/programming-guides/proto-limits/).
MESSAGE_LIMIT_BYTES = 2**31 - 1
_CHUNK_BYTES = 8 * 2**20
# What protobuf, onnx and onnx_ir raise for values that no exporter writes (names that aren't UTF-8 ...).
_DAMAGE = (AssertionError, ValueError, TypeError, KeyError, OverflowError, ir.serde.SerdeError)


def load_onnx(path: str | Path, *, name: str = "model") -> Component:
    """The component in an ONNX file; external and large weights stay on disk, mapped when they are used.

    Weights that an export left out (`--shape-only`) have a shape and no values.
    The component's digest is the sha256 over the file and its external data files in name order.
    Raises SourceError where the file or its external data can't be read, ModelError where the graph
    breaks a rule (unknown op, opset below 7, NaN weights ...).
    """
    path = Path(path)
    model, external = _open(path)
    try:
        check_weight_values(model)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    return Component(name=name, model=model, digest=_digest([path, *external]), source=path)


def load_unread(path: str | Path, *, name: str = "model") -> Component:
    """The component for counting alone: no weight is read, so none is checked and its digest is empty.

    Raises what `load_onnx` raises, but for weights' values.
    """
    model, _ = _open(Path(path))
    return Component(name=name, model=model, digest="", source=Path(path))


def _open(path: Path) -> tuple[ir.Model, list[Path]]:
    """The checked graph and its external files."""
    proto, places = _parse(path)
    try:
        external = check_external_files(proto, path)
        inside = _name_places(proto, places, path)
        check_graph(proto, path)
        model = ir.from_proto(proto)
    except _DAMAGE as error:
        raise _damaged(path, error) from error
    ir.external_data.set_base_dir(model.graph, path.parent)
    refer_to_weights(model, inside, path)
    mark_shape_only(model)
    draw_weights(model, path)
    return model, external


def _damaged(path: Path, error: Exception) -> SourceError:
    reason = next(iter(str(error).splitlines()), type(error).__name__)
    return SourceError(f"{path}: the graph is damaged: {reason}", fix="export or download the model again")


def _name_places(proto: onnx.ModelProto, places: Mapping[int, Place], path: Path) -> dict[str, Place]:
    """Initializer -> where its numbers lie in the file, as many as its shape and dtype want."""
    for index, place in places.items():
        check_inline_size(proto.graph.initializer[index], place.size, path)
    return {proto.graph.initializer[index].name: place for index, place in places.items()}


def _parse(path: Path) -> tuple[onnx.ModelProto, dict[int, Place]]:
    """The message, and where those initializers lie whose numbers it was parsed without."""
    proto = onnx.ModelProto()
    fix = "give the path of an .onnx file"
    try:
        size = path.stat().st_size
        if path.is_dir():
            raise SourceError(f"{path} is a folder", fix=fix)
        if not 0 < size <= MESSAGE_LIMIT_BYTES:
            raise SourceError(f"{path} holds {size} bytes, which no ONNX file does", fix=fix)
        content, places = read_without_weights(path)
        proto.ParseFromString(content)
    except OSError as error:
        raise SourceError(f"{path} can't be read: {error.strerror}", fix=fix) from error
    except DecodeError as error:
        raise SourceError(
            f"{path} is not an ONNX file, or is cut short", fix="export or download it again"
        ) from error
    if not proto.HasField("graph") or not proto.opset_import or not proto.ir_version:
        raise SourceError(f"{path} is not an ONNX model: it has no graph, opset or IR version", fix=fix)
    return proto, places


def _digest(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as stream:
            while chunk := stream.read(_CHUNK_BYTES):
                digest.update(chunk)
    return digest.hexdigest()
