"""Which deployment target a job is built for."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import UsageError

if TYPE_CHECKING:
    from edgekit.target import Job

# Where a device says nothing: the first target with `quantize`, which every system in use today has.
DEFAULT_LEVEL = 17
_KEY = "deployment"


def level_of(job: Job) -> int:
    """The number in iOS17: the operation set of the device's software in use."""
    row = job.device.versions.get(job.device.software, {})
    word = row.get(_KEY, f"iOS{DEFAULT_LEVEL}")
    if word not in ("iOS15", "iOS16", "iOS17", "iOS18", "iOS26"):
        raise UsageError(
            f"device '{job.device.name}': {_KEY} '{word}' is no deployment target edgekit knows",
            fix="use iOS15, iOS16, iOS17, iOS18 or iOS26 in its TOML",
        )
    return int(word.removeprefix("iOS"))
