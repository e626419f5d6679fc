"""What a bundle's model saw and gave before it left: sketches of its golden data, or of samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._field.device.sketch import Sketch
from edgekit._verify_samples import open_expected
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgekit._bundle import Bundle
    from edgekit._recipe import Recipe
    from edgekit._values import Progress
    from edgekit._verify import GoldenSample
    from edgekit.target import Target


@dataclass(frozen=True)
class Baseline:
    """Sketches by tensor, of `samples` samples; `basis` says of which."""

    inputs: Mapping[str, Sketch]
    outputs: Mapping[str, Sketch]
    samples: int
    basis: str


def sketch_baseline(
    component: str, bundle: Bundle, recipe: Recipe, *, targets: Mapping[str, Target], progress: Progress
) -> Baseline:
    """Inputs and fp32 outputs of a component: of the recipe's samples where it names some, else golden.

    UsageError where there are only random golden data, or no artifact here that could run the samples.
    """
    if recipe.samples is not None:
        expected = open_expected(component, bundle, recipe, targets=targets, progress=progress)
        return _sketch(expected, f"samples '{recipe.samples}'")
    golden = bundle.golden(component)
    if golden.kind == "random":
        raise UsageError(
            f"the golden data of component '{component}' are random numbers: nothing can drift from them",
            fix="add --baseline DATA, with the samples that the model was calibrated on",
        )
    return _sketch(golden.samples, "the bundle's golden data")


def _sketch(samples: Iterable[GoldenSample], basis: str) -> Baseline:
    inputs: dict[str, Sketch] = {}
    outputs: dict[str, Sketch] = {}
    count = 0
    for sample in samples:
        count += 1
        for found, arrays in ((inputs, sample.feeds), (outputs, sample.fp32)):
            for name, array in arrays.items():
                # The same samples give the same sketch: a report can be made again.
                found.setdefault(name, Sketch(seed=0)).update(array)
    return Baseline(inputs, outputs, count, basis)
