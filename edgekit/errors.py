"""Every error that edgekit raises on purpose: one tree, each message with a way out.

EdgekitError                 exit 1: refused, or a gate failed
├── UsageError               exit 2: an option or argument is wrong
├── SourceError              the model file cannot be read or is not what it claims to be
├── ModelError               the model is read, but a node, dim or weight stops the work
├── SamplesError             calibration or verification samples are missing or do not fit
├── GapError                 a target cannot hold the model; carries the Gaps
├── TargetError              a device's toolchain is not installed, or a plugin is broken
├── MissingToolError         a toolchain is not installed; carries the install command
├── CannotRunHere            the artifact is fine but this host has no way to run it
├── GateError                an artifact was built and fell below its gate
├── FieldError               what a device sent is damaged, hostile or of another model
├── OutputError              the output folder cannot be used or written
└── BundleError              a bundle is damaged, tampered with or hostile
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Gap


class EdgekitError(Exception):
    """What failed (on which node or file, what was expected) and the way out.

    `str(error)` is the one line that a user reads: "<problem>; <fix>".
    """

    exit_code = 1

    def __init__(self, problem: str, *, fix: str) -> None:
        super().__init__(f"{problem}; {fix}")
        self.problem = problem
        self.fix = fix


class UsageError(EdgekitError):
    """An option or argument is wrong."""

    exit_code = 2


class SourceError(EdgekitError):
    """The model file cannot be read or is not what it claims to be."""


class ModelError(EdgekitError):
    """The model is read, but a node, dim or weight stops the work."""


class SamplesError(EdgekitError):
    """Calibration or verification samples are missing or do not fit the model."""


class GapError(EdgekitError):
    """A target cannot hold the model; `gaps` names every node, rule and way out."""

    def __init__(self, problem: str, *, fix: str, gaps: Sequence[Gap]) -> None:
        super().__init__(problem, fix=fix)
        self.gaps = tuple(gaps)


class TargetError(EdgekitError):
    """A device's toolchain is not installed, or a target plugin is broken."""


class MissingToolError(EdgekitError):
    """A toolchain is not installed; `fix` is the command that installs it."""


class CannotRunHere(EdgekitError):  # noqa: N818 - the contract's name; it is a statement, not a failure
    """The artifact is fine, but this host has no way to run it."""


class GateError(EdgekitError):
    """An artifact was built, but its parity is below the gate."""


class OutputError(EdgekitError):
    """The output folder cannot be used or written."""


class BundleError(EdgekitError):
    """A bundle is damaged, tampered with, or tries to leave its folder."""


class FieldError(EdgekitError):
    """What a device sent of its model is damaged, hostile or of another model."""
