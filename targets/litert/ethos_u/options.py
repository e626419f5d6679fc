"""What Vela compiles for: the device's own facts, and the options that override them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

_KNOWN = ("accelerator", "system-config", "memory-mode")
_ACCELERATORS = (
    *(f"ethos-u55-{macs}" for macs in (32, 64, 128, 256)),
    *(f"ethos-u65-{macs}" for macs in (256, 512)),
    *(f"ethos-u85-{macs}" for macs in (128, 256, 512, 1024, 2048)),
)
_WORD = re.compile(r"[A-Za-z0-9_]{1,64}")


@dataclass(frozen=True)
class Options:
    """accelerator: NPU and MACs a cycle; system_config and memory_mode: sections of Vela's own vela.ini."""

    accelerator: str
    system_config: str
    memory_mode: str


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or accelerator, naming the nearest known one."""
    for name in job.options:
        if name not in _KNOWN:
            raise UsageError(f"target 'ethos-u' has no option '{name}'", fix=_hint(name, _KNOWN))
    chosen = {name: job.options.get(name, job.device.facts.get(name, "")) for name in _KNOWN}
    if chosen["accelerator"] not in _ACCELERATORS:
        raise UsageError(
            f"ethos-u.accelerator '{chosen['accelerator']}' is unknown",
            fix=_hint(chosen["accelerator"], _ACCELERATORS),
        )
    for name in _KNOWN[1:]:
        if not _WORD.fullmatch(chosen[name]):
            raise UsageError(
                f"ethos-u.{name} '{chosen[name]}' is no section of vela.ini",
                fix="`vela --list-configs Arm/vela.ini` lists them",
            )
    return Options(chosen["accelerator"], chosen["system-config"], chosen["memory-mode"])


def _hint(name: str, known: tuple[str, ...]) -> str:
    near = get_close_matches(name, known, n=1)
    return f"{f'did you mean {near[0]!r}? ' if near else ''}known: {', '.join(known)}"
