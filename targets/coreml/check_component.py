"""What stops one component from becoming a Core ML program, before any work."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit._values import Gap
from edgekit.errors import UsageError
from edgekit.passes.split_log_powers import hold_log_powers
from edgekit.targets.coreml.caches import find_caches, hold_caches
from edgekit.targets.coreml.deployment import level_of
from edgekit.targets.coreml.fuse_attention import FIRST_LEVEL, fuse_attention
from edgekit.targets.coreml.graph import Graph
from edgekit.targets.coreml.input_forms import check_inputs, range_gaps
from edgekit.targets.coreml.lint import lint
from edgekit.targets.coreml.lower import TARGET, Lowered, lower_component
from edgekit.targets.coreml.operators import needs
from edgekit.targets.coreml.options import float_of, read_options
from edgekit.targets.coreml.rewrite import rewrite_for_neural_engine
from edgekit.targets.coreml.states import FIRST_LEVEL as FIRST_STATES
from edgekit.targets.coreml.states import check_states, hold_states

if TYPE_CHECKING:
    from collections.abc import Iterator

    from edgekit._values import Component
    from edgekit.target import Job

_FIRST_QUANTIZED = 17
_FIRST_PALETTE = 16
_FLOATS = ("fp16", "fp32")


def check_component(component: Component, job: Job) -> list[Gap]:
    """Every node without a form, and a deployment target too old; else the Neural Engine's lint."""
    return list(lower_job(component, job)[1])


def lower_job(component: Component, job: Job) -> tuple[Lowered, tuple[Gap, ...]]:
    """The component rewritten and lowered for the job, and what stops or only slows it."""
    options = read_options(job)
    check_inputs(component, job, options)
    check_states(component, options.states)
    caches = find_caches(component, options)
    if options.palettize is not None and job.precision not in _FLOATS:
        raise UsageError(
            f"option palettize belongs to float programs, and this one is {job.precision}",
            fix="ask for --precision fp16, or leave the option out",
        )
    gaps = (*_level_gaps(component, job), *range_gaps(component, job))
    if gaps:
        return Lowered(Graph(), gaps), gaps
    if float_of(job) == "fp16":
        component = replace(component, model=hold_log_powers(component.model)[0])
    rewritten, level = rewrite_for_neural_engine(component, job), level_of(job)
    lowered = lower_component(rewritten, level)
    if level >= FIRST_LEVEL and options.attention == "fused":
        fuse_attention(lowered.graph)
    if not lowered.gaps:
        hold_states(lowered.graph, options.states)
        hold_caches(lowered.graph, caches, options.cache)
    return lowered, lowered.gaps or tuple(lint(rewritten, job))


def _level_gaps(component: Component, job: Job) -> Iterator[Gap]:
    """What the whole job needs of the deployment target."""
    level = level_of(job)
    for wanted, first, what in (
        (job.precision == "int8", _FIRST_QUANTIZED, "an INT8 program ('quantize' and 'dequantize')"),
        (read_options(job).palettize is not None, _FIRST_PALETTE, "a palettized weight"),
        (bool(read_options(job).states or read_options(job).cache), FIRST_STATES, "a state"),
    ):
        if wanted and level < first:
            yield Gap(TARGET, component.name, "", "deployment target", *needs(what, first, level))
