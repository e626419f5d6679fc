"""What a session loses on the samples against fp32, told as soon as it is certain to be too much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._tasks import evaluate
from edgekit._values import loss_between
from edgekit._verify import OutputComparison
from edgekit._verify_samples import open_metric
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._tasks import Metric
    from edgekit._workshop import Workshop
    from edgekit.target import Session


@dataclass(frozen=True)
class Drop:
    """`share` of the metric or of the rows that is lost, below 0 where INT8 gains, on `samples`.

    Where not all samples took part, what they lost is too much for all of them already.
    """

    share: float
    samples: int


@dataclass(frozen=True)
class Judge:
    """Scores sessions by the recipe's metric, or without one by the top-1 classes that differ from fp32's.

    UsageError where no output tells classes and no metric is named.
    """

    workshop: Workshop
    allowed: float
    _bases: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        return self.workshop.recipe.metric or "top-1 agreement with fp32"

    def measure(self, session: Session) -> Drop:
        """What the session loses; it may stop where that is more than allowed, come what may."""
        return self._measure(session, self.allowed)

    def measure_all(self, session: Session) -> Drop:
        """What the session loses on all samples."""
        return self._measure(session, math.inf)

    def _measure(self, session: Session, most: float) -> Drop:
        metric = self._metric
        return self._disagreement(session, most) if metric is None else self._by_metric(session, metric)

    @cached_property
    def _metric(self) -> Metric | None:
        shop = self.workshop
        return None if shop.recipe.metric is None else open_metric(shop.recipe, shop.expected.metadata)

    def _by_metric(self, session: Session, metric: Metric) -> Drop:
        shop = self.workshop
        against = shop.fp32 if metric.needs == "fp32" else None
        if metric.name not in self._bases:
            self._bases[metric.name] = evaluate(shop.fp32, shop.samples, metric, against=against)[0]
        score, count = evaluate(session, shop.samples, metric, against=against)
        loss = loss_between(self._bases[metric.name], score)
        return Drop(loss if metric.better == "higher" else -loss, count)

    def _disagreement(self, session: Session, most: float) -> Drop:
        """Of all samples, or of the first ones where their loss is more than `most` of all."""
        comparisons: dict[str, OutputComparison] = {}
        total = len(self.workshop.samples)
        for done, sample in enumerate(self.workshop.samples, 1):
            expected, got = self.workshop.fp32.run(sample.feeds), session.run(sample.feeds)
            for name, value in expected.items():
                comparison = comparisons.setdefault(name, OutputComparison(name, self.workshop.scores))
                comparison.add(got[name], value)
            share = _worst_share(comparisons)
            # A share is a rounded quotient of counts: times the count it may be a little more than before.
            if share * done > most * total * (1 + 1e-9) and 4 * done >= total:
                return Drop(share, done)
        return Drop(_worst_share(comparisons), total)


def _worst_share(comparisons: Mapping[str, OutputComparison]) -> float:
    losses = [comparison.result().top1_loss for comparison in comparisons.values()]
    known = [loss for loss in losses if loss is not None]
    if not known:
        raise UsageError(
            "--max-drop: no output tells classes whose agreement could be counted",
            fix="name a metric that judges the model: --metric module:function",
        )
    return max(known)
