"""Chooses between a target's native INT8 scheme and the portable one by what the golden samples show."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._qdq import QdqForm
from edgekit._values import PORTABLE
from edgekit._verify import OutputComparison, reference_session

if TYPE_CHECKING:
    from edgekit._qdq import QdqResult
    from edgekit._workshop import Workshop
    from edgekit.target import Plan, Session

# The native scheme has the better kernels (a Relu costs nothing there), so a tie goes to it.
_NEARER_DB = 1.0


@dataclass(frozen=True)
class ChosenScheme:
    """The Q/DQ graph of the scheme that was taken, its session in plain float, and the line that says why."""

    result: QdqResult
    reference: Session
    note: str


def choose_measured(workshop: Workshop, plan: Plan) -> ChosenScheme:
    """The native scheme, unless the portable one is nearer to fp32 on the golden samples.

    Neither wins on every model: one more bit for one-sided tensors against rounding that is symmetric
    around what the background of an image becomes.
    """
    native = workshop.quantize(QdqForm(plan.scheme, plan.bias))
    portable = workshop.quantize(QdqForm(PORTABLE, plan.bias))
    sessions = [workshop.remember(reference_session(one.component.model)) for one in (native, portable)]
    native_db, portable_db = (_measure(workshop, session) for session in sessions)
    told = f"{plan.scheme.name} {native_db:.1f} dB, portable {portable_db:.1f} dB against fp32"
    if portable_db >= native_db + _NEARER_DB:
        return ChosenScheme(portable, sessions[1], f"INT8 scheme portable was taken: {told}")
    return ChosenScheme(native, sessions[0], f"INT8 scheme {plan.scheme.name} was taken: {told}")


def _measure(workshop: Workshop, reference: Session) -> float:
    """SQNR in dB of the worst output of a Q/DQ graph in plain float over the golden samples."""
    golden = workshop.make_golden("samples", reference)
    comparisons: dict[str, OutputComparison] = {}
    for sample in golden.samples:
        for name, expected in sample.fp32.items():
            if sample.reference is not None and expected.dtype.kind == "f":
                comparison = comparisons.setdefault(name, OutputComparison(name))
                comparison.add(sample.reference[name], expected)
    return min((one.result().sqnr_db for one in comparisons.values()), default=0.0)
