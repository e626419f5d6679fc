"""Which of a model's operators TensorRT lacks while ONNX defines them by primitives."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import onnx
import onnx_ir as ir

from edgekit.targets.tensorrt.rules import rules_by_op

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Component
    from edgekit.targets.tensorrt.op_table import OpTable


def ops_to_expand(components: Sequence[Component], table: OpTable) -> frozenset[str]:
    """Operators in use that the table refuses and that ONNX gives a function body.

    Those that a rule refuses stay: their bodies hold what TensorRT refuses too.
    """
    used: set[tuple[str, int]] = set()
    for component in components:
        opset = component.model.opset_imports.get("", 0)
        nodes = ir.traversal.RecursiveGraphIterator(component.model.graph)
        used |= {(node.op_type, opset) for node in nodes if node.domain in ("", "ai.onnx")}
    refused = {op for op, rules in rules_by_op().items() if any(rule.refuses_operator for rule in rules)}
    lacking = {(op, opset) for op, opset in used if not table.types(op) and op not in refused}
    return frozenset(op for op, opset in lacking if _has_body(op, opset))


def _has_body(op: str, opset: int) -> bool:
    try:
        schema: Any = onnx.defs.get_schema(op, opset)
    except onnx.defs.SchemaError:
        return False
    return bool(schema.has_function or schema.has_context_dependent_function)
