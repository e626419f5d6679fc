"""What stops one component from becoming a Core ML program, before any work."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import Gap
from edgekit.targets.coreml.deployment import level_of
from edgekit.targets.coreml.flexible_inputs import range_gaps
from edgekit.targets.coreml.graph import Graph
from edgekit.targets.coreml.lint import lint
from edgekit.targets.coreml.lower import TARGET, Lowered, lower_component
from edgekit.targets.coreml.operators import needs
from edgekit.targets.coreml.options import read_options
from edgekit.targets.coreml.rewrite import rewrite_for_neural_engine

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job

_FIRST_QUANTIZED = 17


def check_component(component: Component, job: Job) -> list[Gap]:
    """Every node without a form, and a deployment target too old for INT8; else the Neural Engine's lint."""
    return list(lower_job(component, job)[1])


def lower_job(component: Component, job: Job) -> tuple[Lowered, tuple[Gap, ...]]:
    """The component rewritten and lowered for the job, and what stops or only slows it."""
    read_options(job)
    level = level_of(job)
    if job.precision == "int8" and level < _FIRST_QUANTIZED:
        rule, way_out = needs("an INT8 program ('quantize' and 'dequantize')", _FIRST_QUANTIZED, level)
        gap = Gap(TARGET, component.name, "", "deployment target", rule, way_out)
        return Lowered(Graph(), (gap,)), (gap,)
    open_gaps = tuple(range_gaps(component, job))
    if open_gaps:
        return Lowered(Graph(), open_gaps), open_gaps
    rewritten = rewrite_for_neural_engine(component, job)
    lowered = lower_component(rewritten, level)
    return lowered, lowered.gaps or tuple(lint(rewritten, job))
