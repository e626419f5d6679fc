"""What a session loses on the samples against fp32, told as soon as it is certain to be too much."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._results import loss_between
from edgekit._search.agreement import Agreement, find_texts
from edgekit._tasks import evaluate
from edgekit._verify import check_fp32, compare_fp32
from edgekit._verify_samples import open_metric

if TYPE_CHECKING:
    from edgekit._tasks import Metric
    from edgekit._verify import Gate, Golden
    from edgekit._workshop import Workshop
    from edgekit.calibration.samples import Samples
    from edgekit.target import Session


@dataclass(frozen=True)
class Drop:
    """What is lost on `samples`, of the metric or of the decisions, a share; below 0 where INT8 gains.

    seen: by what the samples show, and where a rounding was fitted to some, by what the `unseen` others show
    if that is more. changes, foretold: of classes on samples that nobody saw (`CloseCalls`), the share that
    changes and the loss of right answers by it; 0 where that is not known. Where not all samples took part,
    what they lost is too much for all already.
    """

    seen: float
    samples: int
    changes: float = 0.0
    foretold: float = 0.0
    unseen: int = 0

    @property
    def share(self) -> float:
        """The worse of what is seen and what is foretold."""
        return max(self.seen, self.foretold)


@dataclass(frozen=True)
class Judge:
    """Scores sessions by the recipe's metric, or without one by the decisions that differ from fp32's.

    Those are letters where the model carries its characters (CTC), else top-1 classes. UsageError where no
    output tells any and no metric is named. gate: what the artifact must pass besides.
    """

    workshop: Workshop
    allowed: float
    gate: Gate | None = None
    _bases: dict[tuple[str, frozenset[int]], float] = field(default_factory=dict)

    @property
    def words(self) -> str:
        agreement = "agreement with fp32's letters" if self._texts else "top-1 agreement with fp32"
        return self.workshop.recipe.metric or agreement

    def measure(self, session: Session, fitted: frozenset[int] = frozenset()) -> Drop:
        """What the session loses; it may stop where that is more than allowed, come what may.

        fitted: places of the samples that something of the session was fitted to.
        """
        return self._measure(session, self.allowed, fitted)

    def measure_all(self, session: Session, fitted: frozenset[int] = frozenset()) -> Drop:
        """What the session loses on all samples."""
        return self._measure(session, math.inf, fitted)

    def list_missed(self, session: Session) -> tuple[str, ...]:
        """Limits against fp32 that the session misses on the golden samples; a metric stands in for them."""
        if self.gate is None or self._metric is not None:
            return ()
        found = compare_fp32(session, self.workshop.make_golden("samples", None))
        return tuple(check_fp32(found, self.gate, None))

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

    def _measure(self, session: Session, most: float, fitted: frozenset[int]) -> Drop:
        metric = self._metric
        if metric is None:
            return self._disagreement(session, most, fitted)
        drop = self._by_metric(session, metric, frozenset())
        if not fitted:
            return drop
        others = self._by_metric(session, metric, fitted)
        return replace(drop, seen=max(drop.seen, others.seen), unseen=others.samples)

    @cached_property
    def _metric(self) -> Metric | None:
        shop = self.workshop
        return None if shop.recipe.metric is None else open_metric(shop.recipe, shop.expected.metadata)

    @cached_property
    def _texts(self) -> dict[str, tuple[str, ...]]:
        return find_texts(self.workshop.component.model, self.workshop.expected.metadata)

    def _by_metric(self, session: Session, metric: Metric, without: frozenset[int]) -> Drop:
        """On all samples but those at the places `without`."""
        shop, samples = self.workshop, _without(self.workshop.samples, without)
        against = shop.fp32 if metric.needs == "fp32" else None
        if (metric.name, without) not in self._bases:
            base, _ = evaluate(shop.fp32, samples, metric, against=against)
            self._bases[metric.name, without] = base
        score, count = evaluate(session, samples, metric, against=against)
        loss = loss_between(self._bases[metric.name, without], score)
        return Drop(loss if metric.better == "higher" else -loss, count)

    def _disagreement(self, session: Session, most: float, fitted: frozenset[int]) -> Drop:
        """Of all samples, or of the first ones where their loss is more than `most` of all."""
        everyone, others = (Agreement(self.workshop.scores, self._texts) for _ in range(2))
        total = len(self.workshop.samples)
        for done, sample in enumerate(self.workshop.samples, 1):
            got, wanted = session.run(sample.feeds), self.workshop.fp32.run(sample.feeds)
            everyone.add(got, wanted)
            if fitted and done - 1 not in fitted:
                others.add(got, wanted)
            # A share is a rounded quotient of counts: times the count it may be a little more than before.
            known = 4 * done >= total and not self._texts  # the letters that are still to come are not
            if known and everyone.loss * done > most * total * (1 + 1e-9):
                return Drop(everyone.loss, done, *everyone.foretold)
        seen = max([everyone.loss, *others.losses])
        changes, foretold = map(max, everyone.foretold, others.foretold)
        return Drop(seen, total, changes, foretold, total - len(fitted) if fitted else 0)


def _without(samples: Samples, places: frozenset[int]) -> Samples:
    """The samples but for those at `places`, with their labels."""
    if not places:
        return samples
    kept = [place for place in range(len(samples)) if place not in places]
    labels = None if samples.labels is None else tuple(samples.labels[place] for place in kept)
    return replace(samples, count=len(kept), read=lambda: samples.take(kept), labels=labels, at=None)
