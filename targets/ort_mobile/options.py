"""The options of this target (`--option ort-mobile.NAME=VALUE`), read once."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

WeightKernels = Literal["float", "dynamic"]
_CHOICES = {"weights": ("float", "dynamic")}


@dataclass(frozen=True)
class Options:
    """weights: `float` computes w8 and w4 products in float32; `dynamic` lets the kernel round the data to
    int8, block by block, while it runs (MatMulNBits' accuracy_level 1 and 4).
    """

    weights: WeightKernels = "float"


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or value, naming the nearest known one."""
    for name, value in job.options.items():
        if name not in _CHOICES:
            raise UsageError(f"target 'ort-mobile' has no option '{name}'", fix=_hint(name, tuple(_CHOICES)))
        if value not in _CHOICES[name]:
            raise UsageError(f"ort-mobile.{name} '{value}' is unknown", fix=_hint(value, _CHOICES[name]))
    return Options(weights=cast("WeightKernels", job.options.get("weights", "float")))


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
