"""Which of a model's ops edgekit has no LiteRT rule for while ONNX defines them by primitives."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.passes.expand_functions import has_body
from edgekit.targets.litert.call import RULES
from edgekit.targets.litert.rules import load_rules

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Component


def ops_to_expand(components: Sequence[Component]) -> frozenset[str]:
    """Ops in use without a rule that have a function body, and those that such bodies may hold."""
    import onnx_ir as ir

    load_rules()
    found = set()
    for component in components:
        version = component.model.opset_imports.get("", 17)
        for node in ir.traversal.RecursiveGraphIterator(component.model.graph):
            if not node.domain and node.op_type not in RULES and _has_body(node, version):
                found.add(node.op_type)
    return frozenset(found)


def _has_body(node: object, version: int) -> bool:
    import onnx
    import onnx_ir as ir

    assert isinstance(node, ir.Node)
    try:
        return has_body(node, version)
    except onnx.defs.SchemaError:
        return False
