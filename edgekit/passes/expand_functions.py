"""Ops that ONNX defines by a function body (LayerNormalization, Gelu, Attention ...) -> their primitives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnx.inliner
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._rewire import Names, all_nodes, graph_of
from edgekit.passes.drop_identities import drop_identities
from edgekit.passes.expand_attention import expand_attention, expand_flex_attention
from edgekit.passes.expand_einsum import expand_einsum
from edgekit.passes.expand_grid_sample import expand_grid_sample
from edgekit.passes.fold_constants import fold_constants
from edgekit.passes.infer_shapes import infer_shapes
from edgekit.passes.lift_constants import lift_constants
from edgekit.passes.name_nodes import name_nodes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

# ONNX Runtime 1.32's kernel and ONNX's body give other numbers (1.3507 and 1.4147 on the same input).
_OTHER_IN_RUNTIME = frozenset({"MeanVarianceNormalization"})
# (domain, op) -> how edgekit writes the op out itself where all shapes are known. ONNX's body of Attention
# computes shapes at run time and can't be made where inputs in the middle are left out; Einsum and
# GridSample have none.
_OWN_BODIES: dict[tuple[str, str], Callable[[ir.Node, Names], bool]] = {
    ("", "Attention"): expand_attention,
    ("ai.onnx.preview", "FlexAttention"): expand_flex_attention,
    ("", "Einsum"): expand_einsum,
    ("", "GridSample"): expand_grid_sample,
}
_ROUNDS = 8  # bodies use other function ops; none of ONNX's nests deeper than three


def expand_functions(model: ir.Model, ops: Collection[str]) -> int:
    """Replace every node of the given ops by ONNX's own function body; returns how many were replaced.

    An op that has no body at the model's opset stays (the target's check names it). Values need their
    dtypes (infer_shapes). Raises ModelError where a body can't be made for a node's dtypes.
    """
    version = model.opset_imports.get("")
    if version is None:  # a model of other domains only
        return 0
    expanded = 0
    for _ in range(_ROUNDS):
        found = [node for node in all_nodes(model) if node.op_type in ops and _can_expand(node, version)]
        if not found:
            break
        names = Names(model)
        done = sum(_expand_node(node, version, names) for node in found)
        if not done:
            break
        expanded += done
        lift_constants(model)
        infer_shapes(model)
    if expanded:
        _settle_casts(model)
        fold_constants(model)
        drop_identities(model)
        name_nodes(model)
    return expanded


def _can_expand(node: ir.Node, version: int) -> bool:
    return (node.domain, node.op_type) in _OWN_BODIES or has_body(node, version)


def _expand_node(node: ir.Node, version: int, names: Names) -> bool:
    own = _OWN_BODIES.get((node.domain, node.op_type))
    if own is not None and own(node, names):
        return True
    if not has_body(node, version):
        return False
    _expand(node, version, names)
    return True


def has_body(node: ir.Node, version: int) -> bool:
    """Whether ONNX defines the node's op by primitives at that opset, and ONNX Runtime computes the same."""
    if node.domain or node.op_type in _OTHER_IN_RUNTIME:
        return False
    schema: Any = onnx.defs.get_schema(node.op_type, version, "")
    return bool(schema.has_function or schema.has_context_dependent_function)


def _settle_casts(model: ir.Model) -> None:
    """CastLike -> Cast, where the dtype is known: no device reads CastLike, and it can't be folded."""
    for node in all_nodes(model):
        like = node.inputs[1] if node.op_type == "CastLike" and not node.domain else None
        if like is not None and like.dtype is not None:
            node.op_type = "Cast"
            node.attributes["to"] = ir.AttrInt64("to", int(like.dtype))
            node.resize_inputs(1)


def _expand(node: ir.Node, version: int, names: Names) -> None:
    body = _body(node, version)
    outer = {value.name: value for value in node.inputs if value is not None}
    old = {value.name or "": value for value in node.outputs if value.name}
    graph = graph_of(node)
    renamed: dict[ir.Value, ir.Value] = {
        value: outer[value.name] for value in body.inputs if value.name in outer
    }
    results = list(body.outputs)
    body.outputs.clear()
    for inner in tuple(body):
        for index, value in enumerate(inner.inputs):
            if value in renamed:
                inner.replace_input_with(index, renamed[value])
        body.remove(inner)
        for output in inner.outputs:
            if output.name and output not in results:
                output.name = names.free(f"{node.outputs[0].name}/{output.name}")
        inner.name = None
        graph.insert_before(node, inner)
    for result in results:
        target = old[result.name or ""]
        name, shape, kind = target.name, target.shape, target.type
        target.replace_all_uses_with(result, replace_graph_outputs=True)
        target.name = f"{name}/expanded"
        result.name, result.shape, result.type = name, shape, kind
    graph.remove(node, safe=True)


def _body(node: ir.Node, version: int) -> ir.Graph:
    """The node alone as a model, its function inlined by ONNX."""
    proto = ir.to_proto(node)
    given = {attribute.name for attribute in proto.attribute}
    for name, attribute in onnx.defs.get_schema(node.op_type, version, "").attributes.items():
        if name not in given and attribute.default_value.name:
            proto.attribute.append(attribute.default_value)
    inputs = {value.name: value for value in node.inputs if value is not None}
    graph = onnx.helper.make_graph(
        [proto],
        "body",
        [ir.to_proto(value) for value in inputs.values()],
        [ir.to_proto(value) for value in node.outputs if value.name],
    )
    alone = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", version)])
    try:
        inlined = onnx.inliner.inline_selected_functions(
            alone, [("", node.op_type)], exclude=False, inline_schema_functions=True
        )
        body = ir.from_proto(inlined).graph
    except (RuntimeError, ValueError, onnx.checker.ValidationError) as error:
        raise _no_body(node) from error
    if any(inner.op_type == node.op_type for inner in body):
        raise _no_body(node)
    return body


def _no_body(node: ir.Node) -> ModelError:
    return ModelError(
        f"{node.op_type} '{node.name}' can't be expanded into primitives for its attributes and dtypes",
        fix="export the model with the op written out, or with opset 17",
    )
