"""Chooses how weights alone become integers: to the nearest, or by GPTQ where samples show it nearer."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgekit._qdq import WeightRounder, quantize_weights
from edgekit._qdq.observe_products import Products
from edgekit._verify import worst_sqnr_db
from edgekit.calibration.open_session import open_session
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    import numpy as np

    from edgekit._qdq import Steering
    from edgekit._recipe import WeightMethod
    from edgekit._schemes import WeightForm
    from edgekit._values import Component, Precision
    from edgekit.calibration.open_session import OpenSession
    from edgekit.calibration.samples import Sample, Samples

_HELD_OUT = 4  # samples that GPTQ does not see, where there are enough to spare
_ENOUGH = 8
_NEARER_DB = 0.1  # below it the plain method is taken: it knows nothing of the samples
_LARGEST_BYTES = 1_000_000_000  # of weights; running three such models side by side is not worth a choice


@dataclass(frozen=True)
class Asked:
    """What is to be rounded: the forms of the first target that asks, and what the user said."""

    forms: Sequence[WeightForm]
    precision: Precision
    method: WeightMethod
    steering: Steering


@dataclass(frozen=True)
class ChosenRounding:
    """The rounder for all targets, and the words that say why; "" where nothing was to choose."""

    rounder: WeightRounder
    note: str = ""


def choose_rounding(
    component: Component, samples: Samples | None, asked: Asked, plain: WeightRounder
) -> ChosenRounding:
    """`plain` with the method that was asked for, or under "auto" the one nearer to float.

    With real samples GPTQ is tried on all but four of them, and both are measured on those four.
    UsageError for gptq without samples.
    """
    if asked.method == "gptq" and samples is None:
        raise UsageError(
            "--weights gptq needs samples", fix="add --samples DATA, or use --weights hqq or rtn"
        )
    if asked.method != "auto" or samples is None or samples.kind == "random":
        method = "rtn" if asked.method == "auto" else asked.method
        seen = samples if method == "gptq" else None
        products = None if seen is None else Products(component.model, seen)
        return ChosenRounding(replace(plain, method=method, products=products, made={}))
    size = sum(
        value.const_value.nbytes for value in component.model.graph.initializers.values() if value.const_value
    )
    if size > _LARGEST_BYTES:
        told = f"gptq was not measured on {size / 1e9:.1f} GB of weights: ask for it with --weights gptq"
        return ChosenRounding(plain, told)
    return _measured(component, samples, asked, plain)


def _measured(component: Component, samples: Samples, asked: Asked, plain: WeightRounder) -> ChosenRounding:
    held = samples.spread(_HELD_OUT)
    seen = _Part(samples, frozenset(held), inside=len(samples) < _ENOUGH)
    fitted = replace(plain, method="gptq", products=Products(component.model, seen), made={})
    judges = list(samples.take(held))
    rates = {
        name: _sqnr_db(component, rounder, asked, judges)
        for name, rounder in (("rtn", plain), ("gptq", fitted))
    }
    unseen = "that it did not see" if len(samples) >= _ENOUGH else "that it saw too"
    told = (
        f"gptq has {rates['gptq']:.1f} dB and round to nearest {rates['rtn']:.1f} dB against fp32 "
        f"on {len(judges)} samples {unseen}"
    )
    return ChosenRounding(fitted if rates["gptq"] > rates["rtn"] + _NEARER_DB else plain, told)


@dataclass(frozen=True)
class _Part:
    """The samples without those that judge; with `inside` all of them."""

    samples: Samples
    held: frozenset[int]
    inside: bool

    def __iter__(self) -> Iterator[Sample]:
        return (item for index, item in enumerate(self.samples) if self.inside or index not in self.held)


def _sqnr_db(component: Component, rounder: WeightRounder, asked: Asked, judges: Sequence[Sample]) -> float:
    """Of the worst float output, against the float model."""
    made = quantize_weights(
        component, asked.forms, precision=asked.precision, steering=asked.steering, rounder=rounder
    )
    names = [str(value.name) for value in component.model.graph.outputs]
    exact, rounded = open_session(component.model.clone()), open_session(made.component.model)

    def run(session: OpenSession, sample: Sample) -> dict[str, np.ndarray]:
        return dict(zip(names, session.run(names, sample.feeds), strict=True))

    return worst_sqnr_db((run(exact, sample), run(rounded, sample)) for sample in judges)
