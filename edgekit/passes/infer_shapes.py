"""Give every value its dtype and shape by ONNX's own inference; weights stay out of the message."""

from __future__ import annotations

import onnx
import onnx_ir as ir

from edgekit.errors import ModelError

# Inference reads the values of small tensors (Reshape targets, axes); larger ones only by shape.
_READ_BYTES = 4096


def infer_shapes(model: ir.Model) -> int:
    """Merge inferred dtypes and shapes into the model; returns how many values learned something.

    A dim already known stays where inference knows less. Raises ModelError where the graph's own
    shapes or dtypes contradict an op.
    """
    inferred = _inferred(model)
    learned = 0
    for graph, twin in zip(model.graphs(), inferred.graphs(), strict=True):
        known = ir.convenience.create_value_mapping(twin)
        for node in graph:
            for value in node.outputs:
                other = known.get(value.name or "")
                learned += other is not None and _merge(value, other)
    return learned


def has_sound_branches(model: ir.Model) -> bool:
    """Whether every node inside an If or Loop accepts the shapes it gets; True where there is none.

    A branch that no run takes at these shapes may hold nodes that could not run at them.
    """
    if len(tuple(model.graphs())) == 1:
        return True
    try:
        onnx.shape_inference.infer_shapes(
            ir.to_proto(_without_weights(model)), strict_mode=True, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, RuntimeError):
        return False
    return True


def _without_weights(model: ir.Model) -> ir.Model:
    """A clone whose large initializers are inputs."""
    clone = model.clone()
    for value in tuple(clone.graph.initializers.values()):
        if value.const_value is not None and value.const_value.nbytes > _READ_BYTES:
            clone.graph.initializers.pop(value.name or "")
            value.const_value = None
            if value not in clone.graph.inputs:
                clone.graph.inputs.append(value)
    return clone


def _inferred(model: ir.Model) -> ir.Model:
    clone = _without_weights(model)
    try:
        proto = onnx.shape_inference.infer_shapes(
            ir.to_proto(clone), check_type=True, strict_mode=False, data_prop=True
        )
    except (onnx.shape_inference.InferenceError, RuntimeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise ModelError(
            f"shape inference fails: {reason}",
            fix="check the shapes given by --shape, or export the model again",
        ) from error
    return ir.from_proto(proto)


def _merge(value: ir.Value, other: ir.Value) -> bool:
    before = (value.shape, value.dtype)
    if other.type is not None and value.type is None:
        value.type = other.type
    if other.shape is not None:
        value.shape = _merged(value.shape, other.shape)
    return before != (value.shape, value.dtype)


def _merged(old: ir.Shape | None, new: ir.Shape) -> ir.Shape:
    if old is None or len(old) != len(new):
        return ir.Shape(new)
    return ir.Shape([_known(before, after) for before, after in zip(old, new, strict=True)])


def _known(before: int | ir.SymbolicDim, after: int | ir.SymbolicDim) -> int | ir.SymbolicDim:
    if isinstance(after, int) or (not isinstance(before, int) and before.value is None):
        return after
    return before
