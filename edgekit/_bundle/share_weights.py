"""ONNX files of one bundle that hold the same weights: one copy on disk, named by its content."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.passes.serialize_model import SHARED_LEAST_BYTES, point_to, share_weight

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from edgekit._values import Artifact

_ALIGNMENT = 4096  # as ONNX's own external data: a runtime may map the file


def share_weights(artifacts: Sequence[Artifact], folder: Path) -> list[Artifact]:
    """The artifacts of a bundle, with weights that several components' ONNX files hold written once.

    A weight of at least SHARED_LEAST_BYTES that files of two components hold, byte for byte, moves to
    `weights/<sha256>.bin` in `folder`, and each file points to it as ONNX external data. Files of one
    component are left as they were built: each may travel alone. Other forms (.ort, .tflite, .mlpackage)
    have no pointers to shared files and keep a copy each.
    """
    files = [one for one in artifacts if one.main.endswith(".onnx")]
    if len({one.component for one in files}) < 2:
        return list(artifacts)
    held: dict[str, set[str]] = {}
    for one in files:
        for value in _weights(ir.load(folder / one.main)):
            held.setdefault(_digest(value), set()).add(one.component)
    shared = {digest for digest, components in held.items() if len(components) > 1}
    return [_rewrite(one, folder, shared) if one in files else one for one in artifacts]


def _weights(model: ir.Model) -> Iterator[ir.Value]:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.nbytes >= SHARED_LEAST_BYTES:
            yield value


def _digest(value: ir.Value) -> str:
    """Of the weight's bytes; a dtype or shape beside it lies in the graph."""
    return hashlib.sha256(_bytes(value)).hexdigest()


def _bytes(value: ir.Value) -> bytes:
    return b"" if value.const_value is None else value.const_value.tobytes()


def _rewrite(artifact: Artifact, folder: Path, shared: set[str]) -> Artifact:
    """The same graph with its shared weights outside; a data file of its own keeps the others only."""
    path = folder / artifact.main
    model = ir.load(path)
    moved: dict[str, None] = {}
    for value in _weights(model):
        digest = _digest(value)
        if digest in shared:
            moved[share_weight(value, folder, digest)] = None
    if not moved:
        return artifact
    own = _repack(model, path)
    data = ir.to_proto(model).SerializeToString(deterministic=True)
    path.write_bytes(data)
    side = f"{artifact.main}.data"
    if side in artifact.files:
        if own is None:
            (folder / side).unlink()
        else:
            own.replace(folder / side)
    kept = [name for name in artifact.files if name != side or own is not None]
    return replace(artifact, files=(*kept, *sorted(moved)))


def _repack(model: ir.Model, path: Path) -> Path | None:
    """The weights that stay in the file's own data file, in a new one; None where none does."""
    side = f"{path.name}.data"
    staying = [
        value
        for value in model.graph.initializers.values()
        if isinstance(value.const_value, ir.ExternalTensor) and str(value.const_value.location) == side
    ]
    if not staying:
        return None
    packed = path.with_name(f".{side}.part")
    with packed.open("xb") as out:
        for value in staying:
            out.write(b"\0" * (-out.tell() % _ALIGNMENT))
            offset = out.tell()
            out.write(_bytes(value))
            point_to(value, side, path.parent, offset=offset)
    return packed
