"""The options of this target (`--option qnn.NAME=VALUE`), read once."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

Activation = Literal["auto", "u8", "u16"]
Fallback = Literal["allow", "refuse"]
LastSoftmax = Literal["auto", "cpu", "htp"]
Weights = Literal["int8", "int4"]

_CHOICES = {
    "activation": ("auto", "u8", "u16"),
    "fallback": ("allow", "refuse"),
    "last-softmax": ("auto", "cpu", "htp"),
    "weights": ("int8", "int4"),
}
_KNOWN = (*_CHOICES, "chips", "vtcm-mb")
_MOST_VTCM_MB = 64


@dataclass(frozen=True)
class Options:
    """activation: 8- or 16-bit, `auto` measures. fallback: `refuse` stops where a node would run on the CPU.

    activation `auto` beside int4 weights is 16-bit.
    last_softmax: where a Softmax or Sigmoid that ends in outputs is computed; `auto`: on the CPU, in float32,
    where it has few numbers.
    weights: `int4` is for 1024 elements or more, not of grouped convolutions, with a scale a channel.
    chips: names of chips.toml to compile for, "" for the device's own. vtcm_mb: most tightly coupled memory
    that the graph may take, 0 for all that the chip has.
    """

    activation: Activation = "auto"
    fallback: Fallback = "allow"
    last_softmax: LastSoftmax = "auto"
    weights: Weights = "int8"
    chips: str = ""
    vtcm_mb: int = 0


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or value, naming the nearest known one."""
    for name, value in job.options.items():
        if name not in _KNOWN:
            raise UsageError(f"target 'qnn' has no option '{name}'", fix=_hint(name, _KNOWN))
        if name in _CHOICES and value not in _CHOICES[name]:
            raise UsageError(f"qnn.{name} '{value}' is unknown", fix=_hint(value, _CHOICES[name]))
    return Options(
        activation=cast("Activation", job.options.get("activation", "auto")),
        fallback=cast("Fallback", job.options.get("fallback", "allow")),
        last_softmax=cast("LastSoftmax", job.options.get("last-softmax", "auto")),
        weights=cast("Weights", job.options.get("weights", "int8")),
        chips=job.options.get("chips", ""),
        vtcm_mb=_megabytes(job.options.get("vtcm-mb", "0")),
    )


def _megabytes(text: str) -> int:
    if not text.isdecimal() or len(text) > 3 or int(text) > _MOST_VTCM_MB:
        raise UsageError(
            f"qnn.vtcm-mb '{text}' is no count of megabytes up to {_MOST_VTCM_MB}",
            fix="leave it out: the compiler takes what the chip has (8 MB on most phones)",
        )
    return int(text)


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
