"""What the bundles of one convert share: the model, its samples, one calibration, the expected outputs."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._cache import key
from edgekit._calibrate import calibrate_component, open_samples
from edgekit._choose_layer_rounding import choose_layer_rounding
from edgekit._plan import find_gaps, prepare_source
from edgekit._qdq import (
    Mix,
    QdqForm,
    equalize_channels,
    insert_corrected_qdq,
    insert_qdq,
    lift_component,
    measure_means,
    pick_feeds,
    steer,
)
from edgekit._sketch_shop import SketchShop
from edgekit._weight_shop import WeightShop
from edgekit.calibration.random_samples import make_random
from edgekit.sources.drawn_weights import has_drawn_weights
from edgekit.sources.graph_io import inputs_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy as np

    from edgekit._cache import Cache
    from edgekit._calibrate import Calibration
    from edgekit._plan import Prepared
    from edgekit._qdq import (
        FloatMeans,
        LayerRoundings,
        QdqResult,
        RoundedLayer,
        Steering,
    )
    from edgekit._recipe import Recipe
    from edgekit._schemes import Scheme
    from edgekit._values import Component, Gap, Precision, Progress
    from edgekit._verify import Golden, OrtSession, PiecewiseSession, RememberedSession
    from edgekit._verify.golden import GoldenKind
    from edgekit.calibration.record import CalibrationRecord
    from edgekit.calibration.samples import Samples
    from edgekit.registry import ResolvedTarget
    from edgekit.target import Plan, Session


@dataclass
class Workshop:
    """One component: each stage runs once, when a bundle first needs it, and serves every target."""

    recipe: Recipe
    source: Component
    targets: Sequence[ResolvedTarget]
    cache: Cache
    progress: Progress
    # What searches found, for the targets that come later.
    mixes: list[Mix] = field(default_factory=list)
    _plain_forms: dict[QdqForm, QdqResult] = field(default_factory=dict)
    _references: dict[QdqForm, RememberedSession] = field(default_factory=dict)
    _goldens: dict[tuple[GoldenKind, RememberedSession | None], Golden] = field(default_factory=dict)
    _layer_roundings: dict[Scheme, LayerRoundings] = field(default_factory=dict)

    @cached_property
    def _prepared(self) -> Prepared:
        self.progress("prepare graph", 0, None)
        return prepare_source(self.source, self.targets, self.recipe)

    @property
    def component(self) -> Component:
        """The prepared model in float, with everything expanded that some target lacks."""
        return self._prepared.component

    def find_gaps(self, item: ResolvedTarget, precisions: Sequence[Precision]) -> tuple[Gap, ...]:
        """What the float model alone tells of the gaps of these variants: before anything is calibrated."""
        return find_gaps(item, self._prepared, recipe=self.recipe, precisions=precisions)

    def plan(self, item: ResolvedTarget) -> Plan:
        return self._prepared.plans[item.device.name]

    @cached_property
    def samples(self) -> Samples:
        """The user's samples, or a few random ones to show the arithmetic on where there are none."""
        if self.recipe.samples is None:
            recipe = self.recipe
            return make_random(inputs_of(self.component.model), recipe.golden_count, recipe.shapes)
        return open_samples(self.recipe, self.component)

    @cached_property
    def data_digest(self) -> str | None:
        """Of the samples' bytes, preprocessing and labels; reads no sample and prepares no graph."""
        if self.recipe.samples is None:
            return None
        samples = open_samples(self.recipe, self.source)
        return key(samples.digest, samples.labels)

    @cached_property
    def _lifted(self) -> Component:
        return lift_component(self.component)

    @cached_property
    def _calibration(self) -> Calibration:
        return calibrate_component(
            self._lifted,
            self.samples,
            recipe=self.recipe,
            cache=self.cache,
            progress=self.progress,
        )

    @cached_property
    def _calibrated(self) -> tuple[Component, CalibrationRecord]:
        record = self._calibration.record
        self.progress("equalize channels", 0, None)
        return equalize_channels(self._lifted, record)

    @property
    def equalized(self) -> Component:
        """The float model that Q/DQ goes into: as `component`, with small weights and channels evened out."""
        return self._calibrated[0]

    @property
    def record(self) -> CalibrationRecord:
        """The one calibration record, with the ranges of `equalized`."""
        return self._calibrated[1]

    @cached_property
    def sketches(self) -> SketchShop:
        """Sketches that calibration does not leave."""
        return SketchShop(self.recipe, self.component, lambda: self.samples, self.progress)

    @property
    def calibration_sketches(self) -> bytes | None:
        """Of what it was calibrated on, taken in the same pass."""
        return self._calibration.sketches

    @cached_property
    def expected(self) -> OrtSession | PiecewiseSession:
        """The source as the user gave it; models that no file holds run as they were prepared."""
        from edgekit._verify import float_session

        if has_drawn_weights(self.source.model):
            return float_session(self.component.model)
        return float_session(
            self.source.source or (self.source.model if self.recipe.bind else self.component.model),
            self.source.model if self.source.source else None,
        )

    def make_golden(self, kind: GoldenKind, reference: RememberedSession | None) -> Golden:
        """Golden data with what fp32 and `reference` give, computed once for all targets."""
        from edgekit._verify import Expected, make_golden

        if (kind, reference) not in self._goldens:
            self.progress("run the golden samples", 0, None)
            expected, most = Expected(self.fp32, reference, self.scores), self.recipe.golden_count
            self._goldens[kind, reference] = make_golden(
                self.component.name, self.samples, expected=expected, kind=kind, most=most
            )
        return self._goldens[kind, reference]

    @cached_property
    def scores(self) -> frozenset[str]:
        """The outputs whose largest number is a decision."""
        from edgekit._verify import find_scores

        return find_scores(self.component.model)

    @cached_property
    def fp32(self) -> RememberedSession:
        """`expected`, running each set of inputs once."""
        return self.remember(self.expected)

    def remember(self, session: Session) -> RememberedSession:
        """The session, running each set of inputs once."""
        from edgekit._verify import RememberedSession

        return RememberedSession(session, {})

    def quantize(self, form: QdqForm, mix: Mix | None = None) -> QdqResult:
        """Q/DQ in the form a target wants, from the one record, with what a search decided besides.

        Targets that want the same form get the same graph.
        """
        if mix is not None:
            return self._insert(form, mix)
        if form not in self._plain_forms:
            self._plain_forms[form] = self._insert(form, Mix())
        return self._plain_forms[form]

    def reference(self, form: QdqForm) -> RememberedSession:
        """The Q/DQ graph of that form in plain float, running each set of inputs once."""
        from edgekit._verify import reference_session

        if form not in self._references:
            model = self.quantize(form).component.model
            self._references[form] = self.remember(reference_session(model, form.compute))
        return self._references[form]

    @property
    def forms(self) -> Sequence[QdqForm]:
        """The forms of the Q/DQ graph that were made so far, without those of searches."""
        return tuple(self._plain_forms)

    def roundings(self, scheme: Scheme, mix: Mix | None = None) -> LayerRoundings | None:
        """How INT8 rounds the weights of each layer under a scheme; None to the nearest.

        Where the recipe asks for AdaRound, or the mix that a search tries. Chosen once, on the scheme's
        plainest form, so that all forms and targets hold the same integers.
        """
        if "adaround" not in (self.recipe.rounding, "nearest" if mix is None else mix.rounding):
            return None
        if scheme not in self._layer_roundings:
            self.progress("round weights by AdaRound", 0, None)
            self._layer_roundings[scheme] = choose_layer_rounding(
                self.equalized,
                self.samples,
                expected=self.expected,
                insert=lambda rounded: self._insert(QdqForm(scheme), Mix(), rounded),
            )
        return self._layer_roundings[scheme]

    def fitted_samples(self, scheme: Scheme, mix: Mix) -> frozenset[int]:
        """Places of the samples that chose how the weights of such a graph are rounded."""
        chosen = self.roundings(scheme, mix)
        return chosen.fit if chosen is not None and chosen.chosen else frozenset()

    def _insert(
        self, form: QdqForm, mix: Mix, rounded: Mapping[str, RoundedLayer] | None = None
    ) -> QdqResult:
        """rounded: instead of what `roundings` gives."""
        if rounded is None:
            chosen = self.roundings(form.scheme, mix)
            rounded = {} if chosen is None else chosen.layers
        component, record = self.equalized, self.record
        self.progress("insert Q/DQ", 0, None)
        clipped = mix.clipped if self.searches_ranges else None
        steering = replace(
            self._steering, searched=mix.float_nodes, clipped=clipped, wide=mix.wide, rounded=rounded
        )
        if self.samples.kind != "random":
            # A flat background is rounded alike everywhere, and that is no noise which averages out.
            return insert_corrected_qdq(component, record, self._floats, form=form, steering=steering)
        return insert_qdq(component, record, form=form, steering=steering)

    @property
    def searches_ranges(self) -> bool:
        """Whether the record holds two ranges a tensor to choose from."""
        return self.recipe.max_drop is not None and self.recipe.observer is None

    @cached_property
    def few_feeds(self) -> Sequence[Mapping[str, np.ndarray]]:
        return pick_feeds(self.samples)

    @cached_property
    def _floats(self) -> FloatMeans:
        """What the float model shows on them: every form of its Q/DQ graph is held to it."""
        return measure_means(self.equalized.model, self.few_feeds)

    @cached_property
    def weights(self) -> WeightShop:
        """Integer weights of the prepared model, for every target."""
        return WeightShop(
            self.recipe,
            self.component,
            self._steering,
            samples=None if self.recipe.samples is None else self.samples,
            cache=self.cache,
            progress=self.progress,
        )

    @cached_property
    def _steering(self) -> Steering:
        return steer(self.component.model.graph, self.recipe.float_nodes, self.recipe.only_ops)
