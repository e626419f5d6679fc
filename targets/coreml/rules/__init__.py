"""Op rules, a file a family; each registers itself when its file is imported."""

from __future__ import annotations

from importlib import import_module

_FAMILIES = (
    "activation",
    "conv",
    "elementwise",
    "gather",
    "matmul",
    "normalize",
    "pad",
    "pool",
    "probed",
    "quantize",
    "recurrent",
    "reduce",
    "resize",
    "shape",
)


def load_rules() -> None:
    """Import every family, so that the table of rules is complete."""
    for family in _FAMILIES:
        import_module(f"edgekit.targets.coreml.rules.{family}")
