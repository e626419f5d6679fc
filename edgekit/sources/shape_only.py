"""Weights of which only dtype and shape are known: how they stand in memory and in an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnx_ir as ir

from edgekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._values import Component

# In place of a file's name in the external data of a tensor without values.
LOCATION = "edgekit-shape-only"
MOST_BYTES = 2**40
_FIX = "give the weights, and leave --shape-only out; inspect, check and estimate need none"


class ShapeOnlyTensor(ir.ExternalTensor):
    """A weight without values.

    Passes that fold constants read ones in their place, which costs no memory and changes no shape; its
    bytes can't be had, so that no file ever holds made-up weights.
    """

    def __init__(self, name: str, dtype: ir.DataType, shape: Sequence[int]) -> None:
        length = int(dtype.itemsize * np.prod(shape, dtype=np.int64))
        super().__init__(LOCATION, 0, length, dtype, shape=ir.Shape(shape), name=name)

    def numpy(self) -> np.ndarray:
        """Ones of the tensor's shape, read-only and without memory."""
        return np.broadcast_to(np.ones((), self.dtype.numpy()), tuple(self.shape.numpy()))

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> np.ndarray:
        return np.array(self.numpy(), dtype=dtype, copy=copy)

    def tobytes(self) -> NoReturn:
        """SourceError, always."""
        raise SourceError(f"weight '{self.name}' has a shape and no values", fix=_FIX)

    def tofile(self, file: Any) -> NoReturn:
        """SourceError, always."""
        del file
        self.tobytes()


def is_float(data_type: int) -> bool:
    """Whether a TensorProto's data type is one that weights without values may have."""
    return data_type in {ir.DataType.FLOAT, ir.DataType.FLOAT16, ir.DataType.BFLOAT16, ir.DataType.DOUBLE}


def is_shape_only(model: ir.Model) -> bool:
    """Whether weights of a model have no values."""
    return any(
        isinstance(value.const_value, ShapeOnlyTensor)
        for graph in model.graphs()
        for value in graph.initializers.values()
    )


def refuse_shape_only(component: Component) -> Component:
    """The component, if its weights have values; SourceError if not."""
    if is_shape_only(component.model):
        raise SourceError(f"{component.source}: component '{component.name}' has no weights", fix=_FIX)
    return component


def mark_shape_only(model: ir.Model) -> None:
    """After loading: external tensors that no file is named for become ShapeOnlyTensors.

    SourceError for one that is no weight of the graph but a node's constant.
    """
    for graph in model.graphs():
        for node in graph:
            for attribute in node.attributes.values():
                tensor = attribute.value
                if isinstance(tensor, ir.ExternalTensor) and tensor.location == LOCATION:
                    raise SourceError(
                        f"constant '{tensor.name}' of node '{node.name}' has no values",
                        fix="export the model again",
                    )
        for value in graph.initializers.values():
            tensor = value.const_value
            if isinstance(tensor, ir.ExternalTensor) and tensor.location == LOCATION:
                value.const_value = ShapeOnlyTensor(
                    value.name or "", tensor.dtype, tuple(tensor.shape.numpy())
                )


def save_shape_only(model: ir.Model, path: Path) -> None:
    """Write the model with every float weight that holds NaN as a shape only; see weightless.py."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is not None and tensor.dtype.is_floating_point() and _is_hollow(tensor.numpy()):
                value.const_value = ShapeOnlyTensor(
                    value.name or "", tensor.dtype, tuple(tensor.shape.numpy())
                )
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    path.write_bytes(data)


def _is_hollow(array: np.ndarray) -> bool:
    """Whether it is a parameter without values, or folded from some: one NaN repeated, or NaN within."""
    if array.size == 0:
        return False
    if not any(array.strides):  # repeated without memory
        return bool(np.isnan(array.flat[0]))
    return bool(np.isnan(array).any())
