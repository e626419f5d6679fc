"""Which ops edgekit has no LiteRT rule for while ONNX defines them by primitives."""

from __future__ import annotations

from edgekit._lowering import functions_beyond
from edgekit.targets.litert.call import RULES
from edgekit.targets.litert.rules import load_rules

# No functions of ONNX's, but edgekit writes them out.
_WRITTEN_OUT = ("Einsum", "GridSample")


def ops_to_expand() -> frozenset[str]:
    """Every such op of ONNX."""
    load_rules()
    return functions_beyond(RULES, _WRITTEN_OUT)
