"""Model -> the bytes or the file that a runtime loads; the same model always gives the same bytes."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

# Protobuf refuses messages of 2 GiB; the rest of the graph needs room beside the weights.
INLINE_LIMIT_BYTES = 1_800_000_000


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
            if isinstance(value.const_value, ir.ExternalTensor):
                value.const_value = ir.tensor(value.const_value.numpy(), name=value.name)
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


def weight_bytes(model: ir.Model) -> int:
    """Bytes of all initializers, those of subgraphs included."""
    return sum(value.const_value.nbytes for value in _initializers(model) if value.const_value is not None)


def _initializers(model: ir.Model) -> Iterator[ir.Value]:
    for graph in graphs_of(model):
        yield from graph.initializers.values()
