"""What a session loses on the samples against fp32, told as soon as it is certain to be too much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._results import loss_between
from edgekit._search.agreement import Agreement, find_texts
from edgekit._tasks import evaluate
from edgekit._verify_samples import open_metric

if TYPE_CHECKING:
    from edgekit._tasks import Metric
    from edgekit._verify import Golden
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
    """Scores sessions by the recipe's metric, or without one by the decisions that differ from fp32's.

    Those are letters where the model carries its characters (CTC), else top-1 classes. UsageError where no
    output tells any and no metric is named.
    """

    workshop: Workshop
    allowed: float
    _bases: dict[str, float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        agreement = "agreement with fp32's letters" if self._texts else "top-1 agreement with fp32"
        return self.workshop.recipe.metric or agreement

    def measure(self, session: Session) -> Drop:
        """What the session loses; it may stop where that is more than allowed, come what may."""
        return self._measure(session, self.allowed)

    def measure_all(self, session: Session) -> Drop:
        """What the session loses on all samples."""
        return self._measure(session, math.inf)

    def find_faults(self, session: Session, golden: Golden) -> list[str]:
        """What an artifact loses on the golden samples beyond what its Q/DQ graph was let lose.

        They are a few of the samples that the graph was judged on, and what it lost on them counted there.
        A recognizer's rows do not stand in for its letters: most are blanks, and one row may be a letter.
        """
        mine, intended = (Agreement(self.workshop.scores, self._texts) for _ in range(2))
        for sample in golden.samples:
            mine.add(session.run(sample.feeds), sample.fp32)
            intended.add(sample.fp32 if sample.reference is None else sample.reference, sample.fp32)
        own, graphs = max(mine.losses, default=0.0), max(intended.losses, default=0.0)
        if own <= max(self.allowed, graphs):
            return []
        told = f"{self.words}: {1 - own:.3f} on the golden samples, its Q/DQ graph {1 - graphs:.3f}"
        return [f"{told}, allowed {1 - self.allowed:g}"]

    def _measure(self, session: Session, most: float) -> Drop:
        metric = self._metric
        return self._disagreement(session, most) if metric is None else self._by_metric(session, metric)

    @cached_property
    def _metric(self) -> Metric | None:
        shop = self.workshop
        return None if shop.recipe.metric is None else open_metric(shop.recipe, shop.expected.metadata)

    @cached_property
    def _texts(self) -> dict[str, tuple[str, ...]]:
        return find_texts(self.workshop.component.model, self.workshop.expected.metadata)

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
        agreement = Agreement(self.workshop.scores, self._texts)
        total = len(self.workshop.samples)
        for done, sample in enumerate(self.workshop.samples, 1):
            agreement.add(session.run(sample.feeds), self.workshop.fp32.run(sample.feeds))
            # A share is a rounded quotient of counts: times the count it may be a little more than before.
            known = 4 * done >= total and not self._texts  # the letters that are still to come are not
            if known and agreement.loss * done > most * total * (1 + 1e-9):
                return Drop(agreement.loss, done)
        return Drop(agreement.loss, total)
