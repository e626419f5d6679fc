"""What Vela compiles for: the device's own facts, and the options that override them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

_FACTS = ("accelerator", "system-config", "memory-mode")
_FALLBACKS = ("allow", "refuse")
_KNOWN = (*_FACTS, "fallback")
_ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")

Fallback = Literal["allow", "refuse"]


@dataclass(frozen=True)
class Options:
    """accelerator: NPU and MACs a cycle; system_config and memory_mode: sections of Vela's own vela.ini.

    fallback: `refuse` stops where an operator would run on the CPU; converters and the last Softmax may.
    """

    accelerator: str
    system_config: str
    memory_mode: str
    fallback: Fallback = "allow"


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or accelerator, naming the nearest known one."""
    for name in job.options:
        if name not in _KNOWN:
            raise UsageError(f"target 'ethos-u' has no option '{name}'", fix=_hint(name, _KNOWN))
    chosen = {name: job.options.get(name, job.device.facts.get(name, "")) for name in _FACTS}
    fallback = job.options.get("fallback", "allow")
    if fallback not in _FALLBACKS:
        raise UsageError(f"ethos-u.fallback '{fallback}' is unknown", fix=_hint(fallback, _FALLBACKS))
    if chosen["accelerator"] not in _ACCELERATORS:
        raise UsageError(
            f"ethos-u.accelerator '{chosen['accelerator']}' is unknown",
            fix=_hint(chosen["accelerator"], _ACCELERATORS),
        )
    for name in _FACTS[1:]:
        if not _WORD.fullmatch(chosen[name]):
            raise UsageError(
                f"ethos-u.{name} '{chosen[name]}' is no section of vela.ini",
                fix="`vela --list-configs Arm/vela.ini` lists them",
            )
    return Options(
        chosen["accelerator"],
        chosen["system-config"],
        chosen["memory-mode"],
        cast("Fallback", fallback),
    )


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
