"""The cheapest INT8 that keeps what a user allows: schemes, ranges, rounding, 16 bits, float; all judged."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._qdq import LEAST_SAMPLES, Mix, Widening
from edgekit._search.fewest import gallop, give_back, names_of
from edgekit._search.fit_ranges import choose_clipped
from edgekit._search.found_mix import FoundMix, Trial
from edgekit._search.price import price_nodes
from edgekit._search.sensitivity import LayerCost, measure_sensitivity, rank_layers
from edgekit._verify import reference_session
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from edgekit._qdq import QdqForm
    from edgekit._schemes import Scheme
    from edgekit._search.judge import Judge
    from edgekit._search.price import Prices
    from edgekit._workshop import Workshop

# Of the classes that are foretold to change: another form or rounding must change so few of them to be taken.
# Ranges were chosen one by one by what the outputs do, which counts for them where the sum says nothing.
_MUCH, _ALIKE = 0.9, 1.1


@dataclass(frozen=True)
class WideChoice:
    """The 16-bit activations that single nodes may have, or in words why there are none."""

    scheme: Scheme | None = None
    why_not: str = ""


def search_mix(workshop: Workshop, forms: Sequence[QdqForm], judge: Judge, wide: WideChoice) -> FoundMix:
    """INT8 with as few multiply-accumulates in 16 bits or in float as its drop on the samples allows.

    A graph that loses no more than the judge allows, and passes the artifact's gate itself, is enough.

    In this order, the first that is enough is taken: each of `forms` whole; the nearest of them with each
    tensor's range chosen by what it does to the outputs; the nearest so far with its weights rounded by
    AdaRound, which costs; what an earlier target's search found. Where more classes than allowed are foretold
    to change on other samples, all of these steps that cost no speed are tried and the nearest is taken: such
    changes are close calls, that win as they lose, and no reason to give up int8. Then layers
    get 16-bit activations, where `wide` has them, the most sensitive for their MACs first, as few as are
    enough, less those that can go back; and layers are left in float in the same way, as far as that is
    cheaper, or on top of the nearest mix where 16 bits were not enough. The cheapest of these is taken.
    Where nothing is enough, the best one tried. UsageError without real samples, and where nothing judges.
    """
    if workshop.samples.kind == "random":
        raise UsageError(
            "--max-drop and --precision auto judge INT8 by samples, and random ones say nothing",
            fix="give real ones with --samples DATA, or leave the option out",
        )
    search = _Search(workshop, judge, wide)
    return search.refine(forms) or search.reuse(search.best) or search.choose_layers(search.best)


@dataclass
class _Search:
    """Attempts on one target's forms; each is built and judged on the samples.

    Only the best and the cheapest that was enough are kept: a graph and its session hold the weights.
    """

    workshop: Workshop
    judge: Judge
    wide: WideChoice
    trials: list[Trial] = field(default_factory=list)
    _best: FoundMix | None = None
    _enough: FoundMix | None = None

    @property
    def best(self) -> FoundMix:
        """The least drop so far."""
        if self._best is None:
            raise ValueError("nothing was tried: a search needs a form")
        return self._best

    def refine(self, forms: Sequence[QdqForm]) -> FoundMix | None:
        """All in int8: the first that is enough, or where many classes will change the nearest of those."""
        taken: FoundMix | None = None
        for form in forms:
            if taken is None or _is_as_fast(form, forms[0]):
                mix = Mix(rounding=self.workshop.recipe.rounding)
                taken = _nearer(self.attempt(form, mix, _tell(form, forms[0])), taken, _MUCH)
                if taken is not None and self._is_sure(taken):
                    return taken
        for step, factor in ((self.fit_ranges, _ALIKE), (self.round_weights, _MUCH)):
            taken = _nearer(step(taken or self.best), taken, factor)
            if taken is not None and self._is_sure(taken):
                return taken
        return None if taken is None else replace(taken, trials=tuple(self.trials))

    def _is_sure(self, made: FoundMix) -> bool:
        """Whether few enough classes change that a count of other samples would come out alike."""
        return made.drop.changes <= self.judge.allowed

    def attempt(self, form: QdqForm, mix: Mix, words: str) -> FoundMix:
        """Build one mix and judge it."""
        self.workshop.progress(f"try {words}", 0, None)
        result = self.workshop.quantize(form, mix)
        session = reference_session(result.component.model, form.compute)
        drop = self.judge.measure(session, self.workshop.fitted_samples(form.scheme, mix))
        missed = self.judge.list_missed(session) if drop.share <= self.judge.allowed else ()
        self.trials.append(Trial(words, drop, missed))
        made = FoundMix(
            result,
            session,
            form,
            mix,
            drop=drop,
            allowed=self.judge.allowed,
            judged_by=self.judge.words,
            missed=missed,
            trials=tuple(self.trials),
            no_wide="" if self.wide.scheme else self.wide.why_not,
        )
        if self._best is None or made.drop.share < self._best.drop.share:
            self._best = made
        if made.enough and (self._enough is None or self._price(made) <= self._price(self._enough)):
            self._enough = made
        return made

    def _judge_all(self, made: FoundMix) -> FoundMix:
        """The same, judged on all samples: a try that is not enough may have been stopped."""
        fitted = self.workshop.fitted_samples(made.form.scheme, made.mix)
        return replace(made, drop=self.judge.measure_all(made.reference, fitted))

    def _price(self, made: FoundMix) -> float:
        return self.prices.of(made.mix)

    @cached_property
    def prices(self) -> Prices:
        return price_nodes(self.workshop.equalized.model)

    def feeds(self, layers: int) -> Sequence[Mapping[str, np.ndarray]]:
        """A few samples: all the runs over `layers` take no more than about two calibrations."""
        few, total = self.workshop.few_feeds, len(self.workshop.samples)
        return few[: max(1, 2 * total // max(layers, 1))]

    def fit_ranges(self, base: FoundMix) -> FoundMix:
        """The base with each tensor's better range, `base` itself where no tensor is better off."""
        if not self.workshop.searches_ranges:
            return base
        self.workshop.progress("choose each tensor's range", 0, None)
        names = frozenset(base.result.scales.tensors)
        every = self.workshop.quantize(base.form, replace(base.mix, clipped=names))
        whole, clipped = base.result.scales.tensors, every.scales.tensors
        model = self.workshop.equalized.model
        chosen = choose_clipped(model, whole=whole, clipped=clipped, feeds=self.feeds(len(names)))
        if not chosen:
            return base
        words = f"{len(chosen)} of {len(names)} ranges clipped by squared error"
        return self.attempt(base.form, replace(base.mix, clipped=chosen), words)

    def round_weights(self, base: FoundMix) -> FoundMix:
        """The base with its weights rounded by AdaRound, `base` itself where that was or cannot be done."""
        shop, mix = self.workshop, replace(base.mix, rounding="adaround")
        if base.mix.rounding == "adaround" or len(shop.samples) < LEAST_SAMPLES:
            return base
        roundings = shop.roundings(base.form.scheme, mix)
        if roundings is None or not roundings.chosen:
            return base
        words = f"weights of {len(roundings.chosen)} of {len(roundings.layers)} layers rounded by AdaRound"
        return self.attempt(base.form, mix, words)

    def reuse(self, base: FoundMix) -> FoundMix | None:
        """The first of the mixes that earlier targets ended with, if it is enough here too."""
        for mix in self.workshop.mixes:
            if mix.wide is not None and mix.wide.scheme != self.wide.scheme:
                continue
            made = self.attempt(base.form, mix, "the mix that another target ended with")
            if made.enough:
                return made
        return None

    def choose_layers(self, base: FoundMix) -> FoundMix:
        """The cheapest layers in 16 bits or in float that are enough; where none are, the best tried."""
        shop = self.workshop
        shop.progress("measure each layer's sensitivity", 0, None)
        feeds = self.feeds(len(base.result.scales.tensors))
        layers = measure_sensitivity(shop.equalized.model, base.result, feeds)
        widened = self.widen(base, layers)
        self.leave_float(base if widened.enough else widened, layers)
        if self._enough is not None and not widened.enough:
            self.narrow(self._enough, layers)
        final = self._enough or self._judge_all(self.best)
        return replace(final, trials=tuple(self.trials), layers=layers)

    def widen(self, base: FoundMix, layers: Sequence[LayerCost]) -> FoundMix:
        """The fewest layers in 16 bits that are enough; where all are not, the nearest mix so far."""
        scheme = self.wide.scheme
        if scheme is None:
            return base
        # More bits in a tensor take its own rounding away, and leave that of the weights.
        ranked = rank_layers([replace(layer, error=layer.error * layer.rounding) for layer in layers])

        def attempt(chosen: Sequence[LayerCost]) -> FoundMix:
            mix = replace(base.mix, wide=Widening(scheme, names_of(chosen)))
            return self.attempt(base.form, mix, f"{len(chosen)} of {len(layers)} layers in 16 bits")

        count = gallop(len(ranked), lambda count: attempt(ranked[:count]).enough)
        if count is not None:
            give_back(ranked[:count], lambda chosen: attempt(chosen).enough)
        return self._enough or self.best

    def leave_float(self, base: FoundMix, layers: Sequence[LayerCost]) -> None:
        """Try the fewest layers in float that are enough, as long as that is cheaper than what is known."""
        ranked = rank_layers(layers)
        most = math.inf if self._enough is None else self._price(self._enough)

        def mix_of(chosen: Sequence[LayerCost]) -> Mix:
            return replace(base.mix, float_nodes=names_of(chosen))

        def enough(chosen: Sequence[LayerCost]) -> bool:
            words = f"{len(chosen)} of {len(layers)} layers in float"
            return self.attempt(base.form, mix_of(chosen), words).enough

        cheaper = [n for n in range(1, len(ranked) + 1) if self.prices.of(mix_of(ranked[:n])) < most]
        count = gallop(len(cheaper), lambda count: enough(ranked[:count]))
        if count is not None:
            give_back(ranked[:count], enough)

    def narrow(self, found: FoundMix, layers: Sequence[LayerCost]) -> None:
        """Give back 16 bits that alone were not enough, and are not needed beside the layers in float."""
        if found.mix.wide is None:
            return
        wide = found.mix.wide

        def enough(chosen: Sequence[LayerCost]) -> bool:
            kept = replace(wide, nodes=names_of(chosen)) if chosen else None
            words = f"{len(chosen)} of {len(layers)} layers in 16 bits beside those in float"
            return self.attempt(found.form, replace(found.mix, wide=kept), words).enough

        if not enough(()):
            give_back([layer for layer in layers if layer.nodes <= wide.nodes], enough)


def _is_as_fast(form: QdqForm, first: QdqForm) -> bool:
    """Whether nothing is in float that is int8 in the first form."""
    return (form.conv_output, form.front_end) == (first.conv_output, first.front_end)


def _tell(form: QdqForm, first: QdqForm) -> str:
    words = f"{form.scheme.name} scheme, all in int8"
    if form.conv_output != first.conv_output:
        words += f", results of convolutions {form.conv_output} up to their activation"
    return words + (", what only logarithms read in float" if form.front_end != first.front_end else "")


def _nearer(made: FoundMix, taken: FoundMix | None, factor: float) -> FoundMix | None:
    """`made` where it is enough and changes no more than `factor` times the classes that `taken` does."""
    if not made.enough or taken is None:
        return made if made.enough else taken
    return made if made.drop.changes <= factor * taken.drop.changes else taken
