"""Integer weights beside float data, rounded once for all targets of a convert."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import TYPE_CHECKING

from edgekit._choose_rounding import Asked, choose_rounding
from edgekit._qdq import WeightRounder, quantize_weights
from edgekit._qdq.kept_codes import CodeFile
from edgekit.passes.serialize_model import weight_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._cache import Cache
    from edgekit._choose_rounding import ChosenRounding
    from edgekit._qdq import Steering, WeightsResult
    from edgekit._recipe import Recipe
    from edgekit._schemes import WeightForm
    from edgekit._values import Component, Precision, Progress
    from edgekit.calibration.samples import Samples

# Models with more weights than this have their integer weights in a file until they are written.
IN_MEMORY_BYTES = 1_000_000_000


@dataclass
class WeightShop:
    """One prepared component; samples: the user's, None without any."""

    recipe: Recipe
    component: Component
    steering: Steering
    samples: Samples | None
    cache: Cache
    progress: Progress
    _roundings: dict[Precision, ChosenRounding] = field(default_factory=dict)

    def quantize(self, forms: Sequence[WeightForm], precision: Precision) -> WeightsResult:
        """Integer weights in the forms a target has; how they are rounded is decided once for all targets."""
        self.progress(f"quantize weights to {precision}", 0, None)
        if precision not in self._roundings:
            asked = Asked(forms, precision, self.recipe.weights, self.steering)
            plain = WeightRounder(block=self.recipe.weight_block, file=self._code_file)
            self._roundings[precision] = choose_rounding(self.component, self.samples, asked, plain)
        rounding = self._roundings[precision]
        made = quantize_weights(
            self.component, forms, precision=precision, steering=self.steering, rounder=rounding.rounder
        )
        return replace(made, method="; ".join(filter(None, (made.method, rounding.note))))

    @cached_property
    def _code_file(self) -> CodeFile | None:
        """Where integer weights wait that are too many to wait in memory."""
        large = weight_bytes(self.component.model) > IN_MEMORY_BYTES
        return CodeFile(self.cache.scratch()) if large else None
