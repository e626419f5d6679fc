"""The cheapest set of layers to leave in float: ranked by one sensitivity pass, verified on the samples."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._search.sensitivity import LayerCost, measure_sensitivity
from edgekit._tasks import evaluate
from edgekit._verify import OutputComparison, reference_session
from edgekit._verify_samples import open_metric
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit._qdq import QdqForm, QdqResult
    from edgekit._workshop import Workshop
    from edgekit.target import Session

# Samples that a layer's sensitivity is measured on: one float run a layer for each.
_SENSITIVITY_SAMPLES = 1


@dataclass(frozen=True)
class FoundMix:
    """The Q/DQ graph that was taken and its session in plain float.

    nodes: those left in float. drop: what it loses (a share), and allowed: what it may. note: both in words.
    """

    result: QdqResult
    reference: Session
    nodes: tuple[str, ...]
    drop: float
    allowed: float

    @property
    def note(self) -> str:
        lost = f"{100 * self.drop:.2f} %" if self.drop > 0 else "nothing"
        said = f"--max-drop {100 * self.allowed:g}%: INT8 loses {lost} on the samples"
        if self.drop > self.allowed:
            return f"{said}, the best that was found, with {len(self.nodes)} nodes in float"
        return f"{said} with {len(self.nodes)} nodes in float" if self.nodes else said


def search_float(workshop: Workshop, forms: Sequence[QdqForm], allowed: float) -> FoundMix:
    """INT8 with as few multiply-accumulates in float as its drop on the samples allows.

    Of `forms` (in the order that the target prefers) the first that is enough is taken as it is, else the
    nearest one is gone on with.

    The drop is the task metric's where the recipe names one, else the share of rows whose top-1 class
    differs from fp32's. UsageError where there is neither. Where nothing is enough, the best one tried.
    """
    drop_of = _judge(workshop)
    attempts: list[tuple[QdqForm, FoundMix]] = []
    for form in forms:
        mix = _Attempt(workshop, form, drop_of, allowed).leave_float(())
        if mix.drop <= allowed:
            return mix
        attempts.append((form, mix))
    nearest, whole = min(attempts, key=lambda pair: pair[1].drop)
    return _leave_layers_float(_Attempt(workshop, nearest, drop_of, allowed), whole)


def _leave_layers_float(attempt: _Attempt, whole: FoundMix) -> FoundMix:
    """The fewest layers, from the most sensitive down, that are enough; where none are, the best tried."""
    workshop = attempt.workshop
    workshop.progress("measure each layer's sensitivity", 0, None)
    feeds = [sample.feeds for _, sample in zip(range(_SENSITIVITY_SAMPLES), workshop.samples, strict=False)]
    ranked = rank_layers(measure_sensitivity(workshop.equalized.model, whole.result.component.model, feeds))
    tried = {0: whole}

    def mix_of(count: int) -> FoundMix:
        if count not in tried:
            workshop.progress(f"try {count} layers in float", 0, None)
            nodes = [name for layer in ranked[:count] for name in sorted(layer.nodes)]
            tried[count] = attempt.leave_float(nodes)
        return tried[count]

    enough = gallop(len(ranked), lambda count: mix_of(count).drop <= attempt.allowed)
    return min(tried.values(), key=lambda mix: mix.drop) if enough is None else mix_of(enough)


def rank_layers(layers: Sequence[LayerCost]) -> list[LayerCost]:
    """Most error for the fewest MACs first; layers without any error are left out."""
    total = sum(layer.macs for layer in layers) or 1
    # A layer without MACs costs something too: its neighbours' edges become float.
    least = total / 1000
    return sorted(
        (layer for layer in layers if layer.error > 0),
        key=lambda layer: (-layer.error / max(layer.macs, least), layer.tensor),
    )


def gallop(most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest count that is enough, if enough stays enough; None where not even all are."""
    low, high = 0, 1
    while high < most and not enough(high):
        low, high = high, high * 2
    high = min(high, most)
    if not most or not enough(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


@dataclass(frozen=True)
class _Attempt:
    """One form of the INT8 graph, to be tried with more and more nodes in float."""

    workshop: Workshop
    form: QdqForm
    drop_of: Callable[[Session], float]
    allowed: float

    def leave_float(self, nodes: Sequence[str]) -> FoundMix:
        result = self.workshop.quantize(self.form, also_float=frozenset(nodes))
        session = reference_session(result.component.model)
        return FoundMix(result, session, tuple(nodes), self.drop_of(session), self.allowed)


def _judge(workshop: Workshop) -> Callable[[Session], float]:
    """What a session loses on all samples against fp32, as a share: below 0 where it gains."""
    if workshop.recipe.metric is None:
        return lambda session: _disagreement(workshop, session)
    metric = open_metric(workshop.recipe, workshop.expected.metadata)
    against = workshop.expected if metric.needs == "fp32" else None
    base, _ = evaluate(workshop.expected, workshop.samples, metric, against=against)
    sign = 1.0 if metric.better == "higher" else -1.0

    def drop(session: Session) -> float:
        return sign * (base - evaluate(session, workshop.samples, metric, against=against)[0])

    return drop


def _disagreement(workshop: Workshop, session: Session) -> float:
    comparisons: dict[str, OutputComparison] = {}
    for sample in workshop.samples:
        expected, got = workshop.fp32.run(sample.feeds), session.run(sample.feeds)
        for name, value in expected.items():
            comparisons.setdefault(name, OutputComparison(name)).add(got[name], value)
    shares = [one.result().top1 for one in comparisons.values()]
    known = [share for share in shares if share is not None and not math.isnan(share)]
    if not known:
        raise UsageError(
            "--max-drop: no output tells classes whose agreement could be counted",
            fix="name a metric that judges the model: --metric module:function",
        )
    return 1.0 - min(known)
