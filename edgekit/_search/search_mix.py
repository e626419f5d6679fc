"""The cheapest INT8 that keeps what a user allows: schemes, ranges, 16 bits and float, each try verified."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._qdq import Mix, Widening
from edgekit._search.fit_ranges import choose_clipped
from edgekit._search.found_mix import FoundMix, Trial
from edgekit._search.judge import Judge
from edgekit._search.price import price_nodes
from edgekit._search.sensitivity import LayerCost, measure_sensitivity, rank_layers
from edgekit._verify import reference_session
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    import numpy as np

    from edgekit._qdq import QdqForm
    from edgekit._schemes import Scheme
    from edgekit._search.price import Prices
    from edgekit._workshop import Workshop

# Tries that give layers back to int8, once enough are in 16 bits or in float.
_MOST_RETURNS = 8


@dataclass(frozen=True)
class WideChoice:
    """The 16-bit activations that single nodes may have, or in words why there are none."""

    scheme: Scheme | None = None
    why_not: str = ""


def search_mix(workshop: Workshop, forms: Sequence[QdqForm], allowed: float, wide: WideChoice) -> FoundMix:
    """INT8 with as few multiply-accumulates in 16 bits or in float as its drop on the samples allows.

    In this order, the first that is enough is taken: each of `forms` whole; the nearest of them with each
    tensor's range chosen by what it does to the outputs; what an earlier target's search found. Then layers
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
    search = _Search(workshop, Judge(workshop, allowed), wide)
    for form in forms:
        second = form.conv_output != forms[0].conv_output
        rest = f", results of convolutions {form.conv_output} up to their activation" if second else ""
        found = search.attempt(form, Mix(), f"{form.scheme.name} scheme, all in int8{rest}")
        if found.enough:
            return found
    nearest = search.best
    fitted = search.fit_ranges(nearest)
    if fitted.enough:
        return fitted
    base = min((nearest, fitted), key=lambda mix: mix.drop)
    return search.reuse(base) or search.choose_layers(base)


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

    def attempt(self, form: QdqForm, mix: Mix, words: str) -> FoundMix:
        """Build one mix and judge it."""
        self.workshop.progress(f"try {words}", 0, None)
        result = self.workshop.quantize(form, mix)
        session = reference_session(result.component.model, form.compute)
        drop = self.judge.measure(session)
        self.trials.append(Trial(words, drop.share, drop.samples))
        made = FoundMix(
            result,
            session,
            form,
            mix,
            drop=drop.share,
            allowed=self.judge.allowed,
            judged_by=self.judge.words,
            trials=tuple(self.trials),
            no_wide="" if self.wide.scheme else self.wide.why_not,
        )
        if self._best is None or made.drop < self._best.drop:
            self._best = made
        if made.enough and (self._enough is None or self._price(made) <= self._price(self._enough)):
            self._enough = made
        return made

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
        final = self._enough or replace(self.best, drop=self.judge.measure_all(self.best.reference).share)
        if final.enough:
            shop.mixes.append(final.mix)
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


def names_of(layers: Sequence[LayerCost]) -> frozenset[str]:
    """The nodes of all these layers."""
    return frozenset(name for layer in layers for name in layer.nodes)


def gallop(most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest count that is enough, if enough stays enough; None where not even all are."""
    low, high = 0, min(1, most)
    while not (high and enough(high)):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def give_back(
    layers: Sequence[LayerCost], enough: Callable[[Sequence[LayerCost]], bool], most: int = _MOST_RETURNS
) -> list[LayerCost]:
    """The layers less those that int8 can have back: halves of them first, then halves of those.

    What the ranking took too early is mended so; layers with the most MACs are tried first. At most
    `most` calls of `enough`.
    """
    kept = sorted(layers, key=lambda layer: -layer.macs)
    size, calls = len(kept) // 2, 0
    while size and calls < most:
        start = 0
        while start < len(kept) and calls < most and len(kept) > 1:
            left = kept[:start] + kept[start + size :]
            calls += 1
            if left and enough(left):
                kept = left
            else:
                start += size
        size //= 2
    return kept
