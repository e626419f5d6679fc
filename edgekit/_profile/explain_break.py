"""After a run broke off: whether the device is still there, and whether it has restarted."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from edgekit._profile.heard import Heard
    from edgekit._values import Progress
    from edgekit.profiles.probes.transport import Transport

_PAUSE_S = 2.0


def explain_break(heard: Heard, transport: Transport, patience_s: float, progress: Progress) -> None:
    """Wait for the device for `patience_s` and say in `heard.problem` what became of it.

    It is waited for so that what was copied there can be removed: a device that starts anew is away for long.
    """
    progress("wait for the device", 0, None)
    until = time.monotonic() + patience_s
    while True:
        try:
            boot = transport.boot()
            break
        except DeviceError:
            if time.monotonic() > until:
                heard.problem += (
                    "; the device did not come back, and what was copied there may still be there"
                )
                return
            time.sleep(_PAUSE_S)
    before = heard.facts.get("boot", "")
    if boot and before and boot != before:
        heard.problem = f"the device restarted during the run ({heard.problem}); go on with --resume"
