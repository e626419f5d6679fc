"""The rewrites for Apple's Neural Engine: which of them a job wants, and a component with them done."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit._values import Component
    from edgekit.target import Job

Rewrite = Literal["safe", "ane", "off"]
# The first one is the default: what it does leaves every bit of the host's fp32 outputs as it was.
REWRITES: tuple[Rewrite, ...] = ("safe", "ane", "off")
OPTION = "rewrite"


def read_rewrite(job: Job) -> Rewrite:
    """The job's `rewrite` option: safe, ane or off; UsageError for anything else."""
    value = job.options.get(OPTION, REWRITES[0])
    for known in REWRITES:
        if value == known:
            return known
    raise UsageError(f"option {OPTION}={value!r} is unknown", fix=f"use one of: {', '.join(REWRITES)}")


def rewrite_for_neural_engine(component: Component, job: Job) -> Component:
    """A component in the form that Apple recommends for its Neural Engine; the one given stays as it is.

    safe: axes merged where data move in the same way, masks of -inf made -40000 (in float16 programs also
    finite ones that float16 would turn into -inf). ane: linear layers too, as 1x1 convolutions in
    (B, C, 1, S); they add products in another order. off: the component given. Shapes must have been
    inferred.
    """
    chosen = read_rewrite(job)
    if chosen == "off":
        return component
    import numpy as np

    from edgekit.passes.bound_masks import LOWEST_HALF, bound_masks
    from edgekit.passes.infer_shapes import infer_shapes
    from edgekit.passes.linear_to_conv import linear_to_conv
    from edgekit.passes.merge_axes import merge_axes

    model = component.model.clone()
    changed = merge_axes(model)
    changed += bound_masks(model, -np.inf if job.precision == "fp32" else LOWEST_HALF)
    if chosen == "ane":
        changed += linear_to_conv(model)
    if not changed:
        return component
    infer_shapes(model)
    return replace(component, model=model)
