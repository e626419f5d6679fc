"""What comes of a convert: figures and where they come from, proofs, verdicts, offers, bundles."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from pathlib import Path

    from edgekit._values import Artifact, Device, Gap, MacShare, Precision

Kind = Literal["measured", "predicted", "unknown"]

# How the names end that a decoder's steps are compared under: along drawn tokens, and along those that fp32
# itself thinks likeliest, where top-1 is the share of tokens that are chosen alike.
FORCED_STEPS, GREEDY_STEPS = "teacher-forced steps", "steps along the greedy tokens"


@dataclass(frozen=True)
class Measurement:
    """One figure with where it comes from; `interval` is the 80 % one for predictions."""

    metric: str
    value: float | None
    unit: str
    kind: Kind
    basis: str
    interval: tuple[float, float] | None = None


def loss_between(before: float, now: float) -> float:
    """before - now, to the digits that shares of counts have: 1 - 0.995 is 0.005 and keeps such a limit."""
    return round(before - now, 12)


@dataclass(frozen=True)
class OutputParity:
    """How one output compares with a reference over all compared samples.

    sqnr_db: 10 log10(signal/noise), inf when equal. cosine: of the flattened outputs, -1..1.
    max_abs: largest absolute difference. top1: share of rows (last axis) whose argmax agrees;
    None where the last axis has fewer than two entries.
    """

    output: str
    sqnr_db: float
    cosine: float
    max_abs: float
    top1: float | None

    @property
    def top1_loss(self) -> float | None:
        """The share of rows whose argmax does not agree."""
        return None if self.top1 is None else loss_between(1.0, self.top1)


@dataclass(frozen=True)
class TaskScore:
    """A task metric of one artifact beside fp32's on the same samples; `drop` > 0 is worse."""

    metric: str
    fp32: float
    artifact: float
    samples: int
    better: Literal["higher", "lower"] = "higher"

    @property
    def drop(self) -> float:
        """How much worse the artifact is, in the metric's own unit."""
        change = loss_between(self.fp32, self.artifact)
        return change if self.better == "higher" else -change


@dataclass(frozen=True)
class Parity:
    """The proof of one artifact: two runs of one loaded session on the golden samples.

    `status` is `proven` or `unproven` (it cannot run on this host; `reason` says why).
    `against_fp32` and `against_reference` (the Q/DQ graph in plain float) are per output.
    """

    component: str
    variant: Precision
    status: Literal["proven", "unproven"]
    reason: str
    samples: int
    runs_equal: bool
    against_fp32: tuple[OutputParity, ...] = ()
    against_reference: tuple[OutputParity, ...] = ()
    macs: MacShare | None = None
    gate_failures: tuple[str, ...] = ()
    worst_tensors: tuple[tuple[str, float], ...] = ()
    task: TaskScore | None = None

    @property
    def passed(self) -> bool:
        return self.runs_equal and not self.gate_failures

    @property
    def failed(self) -> bool:
        """It ran and fell short; an artifact that could not run here has neither passed nor failed."""
        return bool(self.gate_failures) or (self.status == "proven" and not self.runs_equal)


@dataclass(frozen=True)
class Verdict:
    """One line of a budget: does this device keep it? `unknown` where nobody has a figure yet."""

    metric: str
    limit: float
    unit: str
    status: Literal["fits", "does not fit", "unknown"]
    figure: Measurement


@dataclass(frozen=True)
class Offer:
    """The variant of a component that is offered as the best, and what speaks against its INT8."""

    component: str
    variant: Precision
    reasons: tuple[str, ...] = ()

    @property
    def words(self) -> str:
        """One line for a user; "" where nothing is to be said."""
        if not self.reasons:
            return ""
        against = "; ".join(self.reasons)
        if self.variant == "int8":
            return f"{self.component}: INT8 is no good and nothing better is in the bundle: {against}"
        return f"{self.component}: {self.variant} is offered, INT8 is not: {against}"


@dataclass(frozen=True)
class BundleResult:
    """One sealed bundle: what the user asked for, what it became, where it lies and its proof.

    `figures`: what the host knows of it, measured (its size) or foretold by the toolchain.
    """

    requested: str
    device: Device
    folder: Path
    digest: str
    artifacts: tuple[Artifact, ...]
    parities: tuple[Parity, ...]
    gaps: tuple[Gap, ...]
    verdicts: tuple[Verdict, ...]
    notes: tuple[str, ...]
    figures: tuple[Measurement, ...] = ()
    offers: tuple[Offer, ...] = ()

    @property
    def passed(self) -> bool:
        """No artifact failed and no limit is broken; what can't run on this host is unproven, not failed."""
        return not any(parity.failed for parity in self.parities) and not any(
            verdict.status == "does not fit" for verdict in self.verdicts
        )


@dataclass(frozen=True)
class ConvertResult:
    """All bundles of one convert, and the lines a user should read (presets taken, aliases resolved)."""

    bundles: tuple[BundleResult, ...]
    notes: tuple[str, ...]

    @property
    def passed(self) -> bool:
        return all(bundle.passed for bundle in self.bundles)
