"""Weights of which only dtype and shape are known: how they stand in memory and in an ONNX file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
import onnx_ir as ir
from onnx_ir.passes.common import RemoveUnusedNodesPass

from edgekit.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._values import Component

# In place of a file's name in the external data of a tensor without values.
LOCATION = "edgekit-shape-only"
MOST_BYTES = 2**40
SEED = "edgekit.random_weights"  # a key of the model's metadata: the seed that weights are drawn with
NAN_NUMBERS = 2**22 - 1  # the free bits of a quiet NaN in IEEE 754 binary32
_FIX = "give the weights, and leave --shape-only out; inspect, check and estimate need none"


class ShapeOnlyTensor(ir.ExternalTensor):
    """A weight without values.

    Passes that fold constants read ones in their place, which costs no memory and changes no shape; its
    bytes can't be had, so that no file ever holds made-up weights. number: which parameter of the source it
    is; it stands where a file's offset would.
    """

    def __init__(self, name: str, dtype: ir.DataType, shape: Sequence[int], number: int = 0) -> None:
        length = int(dtype.itemsize * np.prod(shape, dtype=np.int64))
        super().__init__(LOCATION, number, length, dtype, shape=ir.Shape(shape), name=name)

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
                    value.name or "", tensor.dtype, tuple(tensor.shape.numpy()), tensor.offset or 0
                )


def forget_values(model: ir.Model) -> None:
    """Every float weight that holds NaN becomes a shape only; see weightless.py."""
    for graph in model.graphs():
        for value in graph.initializers.values():
            tensor = value.const_value
            if tensor is None or not tensor.dtype.is_floating_point():
                continue
            number = hollow_number(tensor.numpy())
            if number is not None:
                shape = tuple(tensor.shape.numpy())
                value.const_value = ShapeOnlyTensor(value.name or "", tensor.dtype, shape, number)
    for node in list(model.graph):
        _turn(node)
    RemoveUnusedNodesPass()(model)


def save_shape_only(model: ir.Model, path: Path) -> None:
    """Write a model of which `forget_values` took the values."""
    data: bytes = ir.to_proto(model).SerializeToString(deterministic=True)
    path.write_bytes(data)


def _turn(node: ir.Node) -> None:
    """A transposed matrix without values becomes one of its own, as folding makes it of values."""
    source = node.inputs[0] if node.op_type == "Transpose" else None
    tensor = None if source is None else source.const_value
    graph = node.graph
    if not isinstance(tensor, ShapeOnlyTensor) or len(tensor.shape) != 2 or not isinstance(graph, ir.Graph):
        return
    name = f"{tensor.name}/transposed"
    made = graph.initializers.get(name)
    if made is None:
        shape = tuple(tensor.shape.numpy())[::-1]
        turned = ShapeOnlyTensor(name, tensor.dtype, shape, tensor.offset or 0)
        made = ir.Value(
            name=name, shape=ir.Shape(shape), type=ir.TensorType(tensor.dtype), const_value=turned
        )
        graph.register_initializer(made)
    node.outputs[0].replace_all_uses_with(made)


def hollow_number(array: np.ndarray) -> int | None:
    """The number of a parameter without values, from the bits of its NaN; None for an array with values.

    It is one NaN repeated without memory, or an array folded from such.
    """
    if array.size == 0:
        return None
    first = array[(0,) * array.ndim]
    if not (np.isnan(first) if not any(array.strides) else np.isnan(array).any()):
        return None
    return int(np.asarray(first, np.float32).view(np.uint32)) & NAN_NUMBERS
