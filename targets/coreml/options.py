"""The options of the target `coreml`, as a user writes them (`--option coreml.NAME=VALUE`)."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, Literal, cast

from edgekit.errors import UsageError
from edgekit.targets.coreml.rewrite import OPTION, read_rewrite

if TYPE_CHECKING:
    from edgekit.target import Job

Compute = Literal["fp16", "fp32"]
_KNOWN = ("compute", OPTION)


@dataclass(frozen=True)
class Options:
    """compute: what a program with integers computes in between (fp16, fp32)."""

    compute: Compute = "fp16"


def read_options(job: Job) -> Options:
    """UsageError for an unknown option or value, with the nearest known one."""
    for name in job.options:
        if name not in _KNOWN:
            near = get_close_matches(name, _KNOWN, n=1)
            hint = f"did you mean '{near[0]}'?" if near else f"its options are: {', '.join(_KNOWN)}"
            raise UsageError(f"target 'coreml' has no option '{name}'", fix=hint)
    read_rewrite(job)
    compute = job.options.get("compute", "fp16")
    if compute not in ("fp16", "fp32"):
        raise UsageError(f"option compute={compute!r} is unknown", fix="use compute=fp16 or compute=fp32")
    return Options(cast("Compute", compute))


def float_of(job: Job) -> Compute:
    """The float of this job's program: the variant's own, and the option's beside integers."""
    if job.precision in ("fp16", "fp32"):
        return job.precision
    return read_options(job).compute
