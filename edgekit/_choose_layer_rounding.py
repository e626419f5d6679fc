"""Chooses how INT8 rounds its weights: layer by layer, and then whether the whole model is nearer for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._qdq import round_layers
from edgekit._verify import reference_session, worst_sqnr_db

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from edgekit._qdq import LayerRoundings, QdqResult, RoundedLayer
    from edgekit._values import Component
    from edgekit.calibration.samples import Samples
    from edgekit.target import Session

    Insert = Callable[[Mapping[str, RoundedLayer]], QdqResult]


def choose_layer_rounding(
    plain: Component, samples: Samples, *, expected: Session, insert: Insert
) -> LayerRoundings:
    """AdaRound for each int8 layer, or none at all where the whole model is no nearer to fp32 with it.

    insert: the Q/DQ graph of `plain` with layers rounded so. expected: the fp32 model. Layers that are each
    nearer do not always make a model that is: both Q/DQ graphs are run on the samples that chose nothing.
    Raises what `round_layers` raises.
    """
    nearest = insert({})
    made = round_layers(plain.model, nearest.component.model, samples)
    if not made.chosen:
        return made
    sessions = [reference_session(one.component.model) for one in (nearest, insert(made.layers))]
    judges = [sample.feeds for sample in samples.take(made.held)]
    exact = [expected.run(feeds) for feeds in judges]
    rates = [
        worst_sqnr_db((wanted, session.run(feeds)) for wanted, feeds in zip(exact, judges, strict=True))
        for session in sessions
    ]
    return made.judged(rates[0], rates[1])
