"""Which ops edgekit has no Core ML rule for while ONNX defines them by primitives."""

from __future__ import annotations

from edgekit._lowering import functions_beyond
from edgekit.targets.coreml.call import RULES
from edgekit.targets.coreml.rules import load_rules

# No function of ONNX's, but edgekit writes it out.
_WRITTEN_OUT = ("Einsum",)


def ops_to_expand() -> frozenset[str]:
    """Every such op of ONNX."""
    load_rules()
    return functions_beyond(RULES, _WRITTEN_OUT)
