"""Sketches that calibration does not leave: of float converts, and of inner values that a user names."""

from __future__ import annotations

import math
from dataclasses import replace
from difflib import get_close_matches
from typing import TYPE_CHECKING

import numpy as np

from edgekit._verify import WHOLE_BYTES, float_session, reference_session, with_taps
from edgekit.calibration.data_sketches import DataSketches
from edgekit.calibration.observe_ranges import observe_ranges
from edgekit.calibration.plan_measures import WatchList
from edgekit.errors import UsageError
from edgekit.passes.serialize_model import weight_bytes

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    import onnx_ir as ir

    from edgekit._values import Component, Progress
    from edgekit.calibration.samples import Samples

# So many inner values take some 4 MB of a bundle; more is no sketch of a few chosen ones.
_MOST = 1000


def find_inner(model: ir.Model, names: Sequence[str]) -> tuple[str, ...]:
    """The inner tensors that names of tensors or nodes (then all that the node makes) mean, in that order.

    model: prepared for its targets. UsageError for a name that is none of them there, or that is an input or
    output, which are sketched anyway, and for a model that is only ever run in pieces.
    """
    if names and weight_bytes(model) > WHOLE_BYTES:
        raise UsageError(
            f"--sketch '{names[0]}': a model of more than {WHOLE_BYTES // 10**9} GB is run piece by piece",
            fix="leave it out: nothing inside such a model can be sketched",
        )
    ends = {str(value.name) for value in (*model.graph.inputs, *model.graph.outputs)}
    made = {name: [name] for name in ends}
    made |= {str(value.name): [str(value.name)] for node in model.graph for value in node.outputs}
    by_node = {
        str(node.name): [str(value.name) for value in node.outputs if value.name] for node in model.graph
    }
    found: dict[str, None] = {}
    for name in names:
        meant = made.get(name) or by_node.get(name)
        if meant is None:
            raise _unknown(name, [*made, *by_node])
        if ends & set(meant):
            raise UsageError(
                f"--sketch '{name}' is an input or output of the model",
                fix="leave it out: it is sketched anyway",
            )
        found |= dict.fromkeys(meant)
    if len(found) > _MOST:
        raise UsageError(f"--sketch names {len(found)} tensors", fix=f"name at most {_MOST}")
    return tuple(found)


def _unknown(name: str, known: Sequence[str]) -> UsageError:
    close = get_close_matches(name, known, n=1)
    return UsageError(
        f"--sketch '{name}' is no node and no tensor of the model as it is prepared for its targets; it may "
        "have been folded into its neighbours",
        fix=f"did you mean '{close[0]}'?" if close else "`edgekit inspect` lists the nodes",
    )


def sketch_samples(
    component: Component, samples: Samples, inner: Sequence[str], progress: Progress
) -> DataSketches | None:
    """One run of the float model over the samples; None where its weights are too many to be held at once."""
    if weight_bytes(component.model) > WHOLE_BYTES:
        return None
    sketches = DataSketches(frozenset(inner))
    tapped = replace(component, model=with_taps(component.model, inner))
    watch = WatchList((), show=sketches.add)
    observe_ranges(tapped, samples, watch=watch, progress=lambda _, *done: progress("sketch samples", *done))
    return sketches


def refuse_lost(inner: Sequence[str], made: ir.Model, variant: str) -> None:
    """UsageError for an inner tensor that a variant's graph does not hold as the float model does."""
    known = {value.name for node in made.graph for value in node.outputs}
    for name in inner:
        if name not in known:
            raise UsageError(
                f"--sketch '{name}' has no counterpart in {variant}, where its channels are evened out",
                fix="name the tensor behind it, or leave that precision out",
            )


def measure_roundings(
    model: ir.Model,
    made: ir.Model,
    feeds: Iterable[Mapping[str, np.ndarray]],
    steps: Mapping[str, float],
) -> dict[str, float]:
    """The root of the mean squared error of inner tensors in `made` against the float `model`, in their unit.

    steps: by tensor, the step that it is rounded to once it is made; 0 for none. `made` holds each
    (`refuse_lost`).
    """
    plain, rounded = float_session(with_taps(model, steps)), reference_session(with_taps(made, steps))
    squares, counts = dict.fromkeys(steps, 0.0), dict.fromkeys(steps, 0)
    for sample in feeds:
        expected, actual = plain.run(sample), rounded.run(sample)
        for name in steps:
            error = actual[name].astype(np.float64) - expected[name].astype(np.float64)
            squares[name] += float(np.sum(error**2))
            counts[name] += error.size
    # What a step adds: it is as likely to be off by any part of half a step.
    return {
        name: math.sqrt(squares[name] / counts[name] + step**2 / 12)
        for name, step in steps.items()
        if counts[name] and math.isfinite(squares[name])
    }
