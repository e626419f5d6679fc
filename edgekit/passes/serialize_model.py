"""Model -> the bytes or the file that a runtime loads; the same model always gives the same bytes."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit._values import SHARED_WEIGHTS
from edgekit.errors import ModelError
from edgekit.passes._rewire import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Protobuf refuses messages of 2 GiB; the rest of the graph needs room beside the weights.
INLINE_LIMIT_BYTES = 1_800_000_000
# Below this a file of its own costs more than a second copy.
SHARED_LEAST_BYTES = 4096


def serialize_model(model: ir.Model) -> bytes:
    """The whole model as one protobuf message, external weights included; the model stays unchanged.

    Raises ModelError above INLINE_LIMIT_BYTES of weights, where only `save_model` works.
    """
    size = weight_bytes(model)
    if size > INLINE_LIMIT_BYTES:
        raise ModelError(
            f"the weights are {size} bytes, and one protobuf message holds {INLINE_LIMIT_BYTES}",
            fix="save the model to a file, which puts the weights beside it",
        )
    if any(isinstance(value.const_value, ir.ExternalTensor) for value in _initializers(model)):
        model = model.clone()
        for value in _initializers(model):
            held = value.const_value
            if isinstance(held, ir.ExternalTensor):
                value.const_value = ir.tensor(held.numpy(), name=value.name, doc_string=held.doc_string)
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    return data


def save_model(model: ir.Model, path: Path) -> tuple[Path, ...]:
    """Write the model; weights above INLINE_LIMIT_BYTES go to one file `<name>.data` beside it.

    Returns the files written, the model first. The model stays unchanged.
    """
    if weight_bytes(model) <= INLINE_LIMIT_BYTES:
        path.write_bytes(serialize_model(model))
        return (path,)
    return save_beside(model, path)


def save_beside(model: ir.Model, path: Path) -> tuple[Path, Path]:
    """Write the model and, a tensor at a time, all but its smallest weights to `<name>.data` beside it."""
    side = path.with_name(f"{path.name}.data")
    ir.save(model.clone(), path, external_data=side.name)
    return (path, side)


def save_sharing(model: ir.Model, path: Path) -> None:
    """Write the model with each larger weight in `weights/<sha256>.bin` beside it, where others find it too.

    Models that are saved to one folder so share what they hold byte for byte. The model is changed: its
    weights are those files.
    """
    for value in _initializers(model):
        if value.const_value is not None and value.const_value.nbytes >= SHARED_LEAST_BYTES:
            share_weight(value, path.parent)
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    path.write_bytes(data)


def share_weight(value: ir.Value, folder: Path, digest: str = "") -> str:
    """Move one weight to the file that its content names, if none has it yet; the name in `folder`."""
    tensor = value.const_value
    if tensor is None:
        raise ValueError(f"'{value.name}' is no weight")
    data = tensor.tobytes()
    name = f"{SHARED_WEIGHTS}{digest or hashlib.sha256(data).hexdigest()}.bin"
    file = folder / name
    if not file.exists():
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(data)
    point_to(value, name, folder, offset=0)
    return name


def point_to(value: ir.Value, name: str, folder: Path, *, offset: int) -> None:
    """Let a weight be the bytes at `offset` of the file `name` in `folder`."""
    tensor = value.const_value
    if tensor is not None:
        value.const_value = ir.ExternalTensor(
            location=name,
            offset=offset,
            length=tensor.nbytes,
            dtype=tensor.dtype,
            shape=ir.Shape(tensor.shape.numpy()),
            name=value.name or "",
            base_dir=folder,
        )


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, those of subgraphs included."""
    return sum(value.const_value.nbytes for value in _initializers(model) if value.const_value is not None)


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in graphs_of(model):
        yield from graph.initializers.values()
