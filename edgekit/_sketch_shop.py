"""What is sketched of one component for all its bundles: samples, outputs, inner values that a user names."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._inner_sketches import find_inner, sketch_samples
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit._recipe import Recipe
    from edgekit._values import Component, Progress
    from edgekit.calibration.data_sketches import DataSketches
    from edgekit.calibration.samples import Samples


@dataclass
class SketchShop:
    """component: prepared, in float. samples: opens them when they are first needed."""

    recipe: Recipe
    component: Component
    samples: Callable[[], Samples]
    progress: Progress

    @property
    def may_sketch(self) -> bool:
        """Whether there are samples, and what they are like may leave the house."""
        given = self.recipe.samples is not None and self.recipe.golden != "random"
        return given and self.samples().kind != "random"

    @cached_property
    def inner(self) -> tuple[str, ...]:
        """The tensors inside the prepared model whose values the recipe wants sketched."""
        names = self.recipe.sketch
        if names and not self.may_sketch:
            raise UsageError(
                f"--sketch '{names[0]}' has nothing to sketch: there are no samples that may be kept",
                fix="add --samples DATA, and leave --golden random out",
            )
        return find_inner(self.component.model, names)

    @cached_property
    def of_samples(self) -> DataSketches | None:
        """Of all samples, and of what the float model makes of them; None where it is too large for that."""
        return sketch_samples(self.component, self.samples(), self.inner, self.progress)
