"""Which ops edgekit has no Core ML rule for while ONNX defines them by primitives."""

from __future__ import annotations

from typing import Any

import onnx

from edgekit.targets.coreml.call import RULES
from edgekit.targets.coreml.rules import load_rules

_DOMAINS = ("", "ai.onnx.preview")
# No function of ONNX's, but edgekit writes it out.
_WRITTEN_OUT = frozenset(("Einsum",))
# Their bodies are loops; with constant inputs they are folded instead.
_LOOPS = frozenset(("Range", "SequenceMap"))


def ops_to_expand() -> frozenset[str]:
    """Every such op of ONNX: a body may hold others, so what a model uses is not enough."""
    load_rules()
    schemas: Any = onnx.defs.get_all_schemas()
    return _WRITTEN_OUT | frozenset(
        schema.name
        for schema in schemas
        if schema.domain in _DOMAINS
        and schema.name not in RULES
        and schema.name not in _LOOPS
        and (schema.has_function or schema.has_context_dependent_function)
    )
