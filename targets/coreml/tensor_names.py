"""Which tensors of the saved program are the source's own, so that layers can be compared."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.errors import TargetError

if TYPE_CHECKING:
    from collections.abc import Mapping

# coremltools names what it rewrites to float16 so.
_ROUNDED = "_cast_fp16"


def name_tensors(spec: Any, names: Mapping[str, str]) -> dict[str, str]:
    """Source name -> saved name, of the tensors that are left; without those whose name is the same.

    `names` are those that the program was written with. TargetError where an input or output was renamed.
    """
    saved = set(_outputs(spec))
    known = set(names.values())
    described = spec.description
    for item in (*described.input, *described.output):
        if item.name not in known:
            raise TargetError(
                f"coremltools renamed an input or output to '{item.name}'",
                fix="report this as a defect of edgekit, with the model",
            )
        saved.add(item.name)
    found = {
        source: own if own in saved else f"{own}{_ROUNDED}"
        for source, own in names.items()
        if own in saved or f"{own}{_ROUNDED}" in saved
    }
    return {source: own for source, own in found.items() if source != own}


def _outputs(spec: Any) -> list[str]:
    function = spec.mlProgram.functions["main"]
    block = function.block_specializations[function.opset]
    return [output.name for operation in block.operations for output in operation.outputs]
