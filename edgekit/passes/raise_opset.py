"""An old opset -> 17, op by op: each adapter is one change that ONNX made to an op."""

from __future__ import annotations

from typing import TYPE_CHECKING

import onnx
import onnx_ir as ir

from edgekit.errors import ModelError
from edgekit.passes._opset_adapters import ADAPTERS
from edgekit.passes._rewire import Names, all_nodes

if TYPE_CHECKING:
    from collections.abc import Iterable

TARGET_OPSET = 17  # shared by every runtime edgekit builds for; TensorRT 8.6 reads no more


def raise_opset(model: ir.Model) -> int:
    """Bring the model to opset 17 where it is older; returns how many nodes changed.

    Works in subgraphs too; functions must be inlined first. Raises ModelError naming a node
    whose old form has no equal in opset 17.
    """
    version = model.opset_imports.get("", TARGET_OPSET)  # none: a model of other domains only
    if version >= TARGET_OPSET:
        return 0
    names = Names(model)
    changed = 0
    for node in all_nodes(model):
        if not node.domain:
            changed += _adapt(node, version, names)
    model.opset_imports[""] = TARGET_OPSET
    _check_nodes(all_nodes(model))
    return changed


def _adapt(node: ir.Node, version: int, names: Names) -> bool:
    """Apply every adapter of the node's op that lies between its version and the target, oldest first."""
    since = onnx.defs.get_schema(node.op_type, version, "").since_version
    changed = False
    for adapter in ADAPTERS:
        if node.op_type in adapter.ops and since < adapter.since <= TARGET_OPSET:
            adapter.apply(node, names)
            since, changed = adapter.since, True
    node.version = None
    return changed


def _check_nodes(nodes: Iterable[ir.Node]) -> None:
    """ONNX's own checker on each node: an attribute or input unknown to the new opset must not pass."""
    context = onnx.checker.C.CheckerContext()
    context.ir_version = onnx.IR_VERSION
    context.opset_imports = {"": TARGET_OPSET}
    checked = set()
    for node in nodes:
        kinds = [(attribute.name, attribute.type) for attribute in node.attributes.data.values()]
        has_graph = any(kind == ir.AttributeType.GRAPH for _, kind in kinds)
        if node.domain or has_graph or node.op_type == "Constant":
            continue
        # All that the checker looks at; it is asked once for all nodes of one form.
        given = tuple(value is not None for value in node.inputs)
        form = (node.op_type, frozenset(kinds), given, len(node.outputs))
        if form in checked:
            continue
        checked.add(form)
        try:
            onnx.checker.check_node(ir.to_proto(node), context)
        except onnx.checker.ValidationError as error:
            reason = str(error).splitlines()[0]
            raise ModelError(
                f"{node.op_type} '{node.name}' has no form in opset {TARGET_OPSET}: {reason}",
                fix=f"export the model again with opset {TARGET_OPSET}",
            ) from error
