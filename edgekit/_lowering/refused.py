"""Why a node has no form in a target."""

from __future__ import annotations


class Refused(Exception):  # noqa: N818 - it becomes a Gap, never a traceback
    """A rule says why a node has no form in the target, and the way out."""

    def __init__(self, rule: str, way_out: str = "") -> None:
        super().__init__(rule)
        self.rule = rule
        self.way_out = way_out
