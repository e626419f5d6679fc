"""What no Hexagon context can hold, found without Qualcomm's compiler."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import Gap
from edgekit.targets.qnn.chips import chips_of
from edgekit.targets.qnn.options import read_options

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job

_FLOW = frozenset({"If", "Loop", "Scan"})


def check_model(component: Component, job: Job) -> list[Gap]:
    """Errors for dynamic shapes and fp16 on a chip without it; warnings for what never goes to the HTP."""
    if job.precision == "fp32":
        return []
    found = [
        Gap(
            "qnn",
            component.name,
            "",
            "input",
            f"input '{value.name}' has no fixed shape, and a context has one shape",
            f"add --shape {value.name}=1,...",
        )
        for value in component.model.graph.inputs
        if value.shape is None or value.shape.is_dynamic()
    ]
    chips = chips_of(job.device, read_options(job).chips)
    found += [
        Gap(
            "qnn",
            component.name,
            "",
            "fp16",
            f"the HTP of {chip.title} (v{chip.htp_arch}) computes on integers only",
            "use --precision int8",
        )
        for chip in chips
        if job.precision == "fp16" and not chip.fp16
    ]
    refuse = read_options(job).fallback == "refuse"
    found += [
        Gap(
            "qnn",
            component.name,
            node.name or "",
            node.op_type,
            "runs on the CPU: the HTP has no control flow",
            "bind the input that decides with --bind, or export the model without it",
            severity="error" if refuse else "warning",
        )
        for node in component.model.graph
        if node.op_type in _FLOW
    ]
    return found
