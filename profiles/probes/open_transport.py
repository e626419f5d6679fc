"""`--on local | ssh://.. | mac://user@host | adb://serial` becomes a transport; plugins bring their own."""

from __future__ import annotations

import re
from difflib import get_close_matches
from importlib import metadata
from typing import TYPE_CHECKING

from edgekit.errors import TargetError, UsageError

if TYPE_CHECKING:
    from edgekit.profiles.probes.transport import Transport

GROUP = "edgekit.transports"
_PLACE = re.compile(r"([a-z][a-z0-9+-]*)(?:://(.*))?", re.DOTALL)
_EXAMPLE = "write --on local, ssh://user@host[:port], adb://serial or mac://user@host"


def open_transport(place: str, *, keep: str = "") -> Transport:
    """The transport for `place`, not yet opened; `keep` names the folder on the device that stays.

    UsageError for an unknown scheme, an address that begins with '-', or control characters in it.
    """
    match = _PLACE.fullmatch(place)
    if match is None:
        raise UsageError(f"'{place}' names no device to run on", fix=_EXAMPLE)
    scheme, address = match[1], match[2] or ""
    if address.startswith("-") or not address.isprintable() or " " in address:
        raise UsageError(f"'{place}': an address is a host or serial without '-' in front", fix=_EXAMPLE)
    found = {point.name: point for point in metadata.entry_points(group=GROUP)}
    if scheme not in found:
        near = get_close_matches(scheme, found, n=1)
        hint = f" (did you mean '{near[0]}'?)" if near else ""
        raise UsageError(f"no transport '{scheme}' is installed{hint}", fix=_EXAMPLE)
    try:
        made: Transport = found[scheme].load()(address, keep=keep)
    except (ImportError, AttributeError) as error:
        raise TargetError(f"transport '{scheme}' does not load ({error})", fix="update its plugin") from error
    return made
