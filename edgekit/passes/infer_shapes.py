"""Give every value its dtype and shape by ONNX's own inference; weights stay out of the message."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import graphs_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    Dims = list[int | str | None]

# Inference reads the values of small tensors (Reshape targets, axes); larger ones only by shape.
_READ_BYTES = 4096


def infer_shapes(model: ir.Model) -> int:
    """Merge inferred dtypes and shapes into the model; returns how many values learned something.

    A dim already known stays where inference knows less. Raises ModelError where the graph's own
    shapes or dtypes contradict an op.
    """
    inferred = _inferred(model)
    learned = 0
    for graph, twin in zip(graphs_of(model), _graph_protos(inferred.graph), strict=True):
        known = {info.name: info.type for info in (*twin.value_info, *twin.output)}
        for node in graph:
            for value in node.outputs:
                other = known.get(value.name or "")
                learned += other is not None and _merge(value, other)
    return learned


def has_sound_branches(model: ir.Model) -> bool:
    """Whether every node inside an If or Loop accepts the shapes it gets; True where there is none.

    A branch that no run takes at these shapes may hold nodes that could not run at them.
    """
    if len(graphs_of(model)) == 1:
        return True
    try:
        onnx.shape_inference.infer_shapes(_without_weights(model), strict_mode=True, data_prop=True)
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return False
    return True


def _without_weights(model: ir.Model) -> onnx.ModelProto:
    """The model as a message in which large initializers are inputs; no weight is copied."""
    graph = model.graph
    small = [value for value in graph.initializers.values() if not _is_large(value)]
    large = [
        value for value in graph.initializers.values() if _is_large(value) and not value.is_graph_input()
    ]
    view = ir.GraphView(
        [*graph.inputs, *large],
        graph.outputs,
        nodes=graph,
        initializers=small,
        opset_imports=graph.opset_imports,
        name=graph.name,
    )
    light = ir.Model(view, ir_version=model.ir_version, functions=tuple(model.functions.values()))  # type: ignore[arg-type]  # what to_proto reads, a view has
    proto: onnx.ModelProto = ir.to_proto(light)
    return proto


def _is_large(value: ir.Value) -> bool:
    return value.const_value is not None and value.const_value.nbytes > _READ_BYTES


def _inferred(model: ir.Model) -> onnx.ModelProto:
    try:
        return onnx.shape_inference.infer_shapes(
            _without_weights(model), check_type=True, strict_mode=False, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"shape inference fails: {reason}",
            fix="check the shapes given by --shape, or export the model again",
        ) from error


def _graph_protos(graph: onnx.GraphProto) -> Iterator[onnx.GraphProto]:
    """The graph and those inside its nodes, in the order of `graphs_of`."""
    yield graph
    for node in graph.node:
        for attribute in node.attribute:
            if attribute.type == onnx.AttributeProto.GRAPH:
                yield from _graph_protos(attribute.g)
            elif attribute.type == onnx.AttributeProto.GRAPHS:
                for inner in attribute.graphs:
                    yield from _graph_protos(inner)


def _merge(value: ir.Value, other: onnx.TypeProto) -> bool:
    """Whether the value learned something."""
    learned = value.type is None
    if learned:
        value.type = ir.serde.deserialize_type_proto_for_type(other)
    old, new = _known_dims(value.shape), _dims(other)
    if new is None or new == old:
        return learned
    value.shape = _merged(value.shape, ir.Shape(new))
    return learned or _known_dims(value.shape) != old


def _dims(kind: onnx.TypeProto) -> Dims | None:
    """The dims of a type: number, name or None each; None where it has no shape."""
    if kind.HasField("tensor_type"):
        if not kind.tensor_type.HasField("shape"):
            return None
        dims = kind.tensor_type.shape.dim
        return [dim.dim_value if dim.HasField("dim_value") else dim.dim_param or None for dim in dims]
    shape = ir.serde.deserialize_type_proto_for_shape(kind)
    return _known_dims(shape)


def _known_dims(shape: ir.Shape | None) -> Dims | None:
    return None if shape is None else [dim if isinstance(dim, int) else dim.value for dim in shape]


def _merged(old: ir.Shape | None, new: ir.Shape) -> ir.Shape:
    if old is None or len(old) != len(new):
        return new
    return ir.Shape([_known(before, after) for before, after in zip(old, new, strict=True)])


def _known(before: int | ir.SymbolicDim, after: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    if isinstance(after, int) or (not isinstance(before, int) and before.value is None):
        return after
    return before
