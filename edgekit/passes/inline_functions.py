"""Calls of functions that the model brings itself -> the nodes of their bodies."""

from __future__ import annotations

from typing import TYPE_CHECKING

from onnx_ir.passes.common import InlinePass

from edgekit.errors import ModelError

if TYPE_CHECKING:
    import onnx_ir as ir


def inline_functions(model: ir.Model) -> int:
    """Replace every call of a model-local function by its body; returns how many functions went.

    Raises ModelError where functions call each other in a circle.
    """
    count = len(model.functions)
    if not count:
        return 0
    try:
        InlinePass()(model)
    except (ValueError, RuntimeError) as error:
        raise ModelError(
            f"the model's functions can't be inlined: {error}", fix="export the model without functions"
        ) from error
    model.functions.clear()
    return count
