"""The inputs and outputs of a model as plain values."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import TensorInfo
from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


def inputs_of(model: ir.Model) -> tuple[TensorInfo, ...]:
    """The inputs a user must feed, in order; an initializer that is also listed as input is not one."""
    weights = model.graph.initializers
    return tuple(_tensor_info(value) for value in model.graph.inputs if value.name not in weights)


def outputs_of(model: ir.Model) -> tuple[TensorInfo, ...]:
    """The outputs, in order."""
    return tuple(_tensor_info(value) for value in model.graph.outputs)


def _tensor_info(value: ir.Value) -> TensorInfo:
    name = value.name or ""
    if value.type is not None and value.type.__class__.__name__ != "TensorType":
        raise ModelError(
            f"'{name}' is a {value.type.__class__.__name__}, and only tensors go in and out",
            fix="export the model with one tensor for each input and output",
        )
    shape: tuple[int | str | None, ...] = ()
    if value.shape is not None:
        shape = tuple(_dim(dim) for dim in value.shape)
    dtype = "unknown" if value.dtype is None else value.dtype.numpy().name
    return TensorInfo(name=name, dtype=dtype, shape=shape)


def _dim(dim: int | ir.SymbolicDim) -> int | str | None:
    """Exporters write 0 or -1 for a size they don't know."""
    if isinstance(dim, int):
        return dim if dim > 0 else None
    return dim.value
