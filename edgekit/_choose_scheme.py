"""Chooses between a target's native INT8 scheme and the portable one by what the golden samples show."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._qdq import QdqForm
from edgekit._values import PORTABLE
from edgekit._verify import OutputComparison, reference_session

if TYPE_CHECKING:
    from edgekit._qdq import QdqResult
    from edgekit._values import Scheme
    from edgekit._workshop import Workshop
    from edgekit.target import Plan, Session

# The native scheme has the better kernels (a Relu costs nothing there), so a tie goes to it.
_NEARER_DB = 1.0
_NEAR_DB = 30.0  # nearer than that to fp32, nothing is left to choose by


@dataclass(frozen=True)
class ChosenScheme:
    """The Q/DQ graph of the scheme that was taken, and its session in plain float.

    note: the line that says why it is not the target's own scheme; "" where it is.
    """

    result: QdqResult
    reference: Session
    note: str


def choose_measured(workshop: Workshop, plan: Plan) -> ChosenScheme:
    """The native scheme, unless it is far from fp32 on the golden samples and the portable one is nearer.

    Neither wins on every model: one more bit for one-sided tensors against rounding that is symmetric
    around what the background of an image becomes.
    """
    native = _try_scheme(workshop, plan, plan.scheme)
    if native.sqnr_db >= _NEAR_DB:
        return ChosenScheme(native.result, native.session, "")
    portable = _try_scheme(workshop, plan, PORTABLE)
    if portable.sqnr_db < native.sqnr_db + _NEARER_DB:
        return ChosenScheme(native.result, native.session, "")
    told = f"{portable.sqnr_db:.1f} dB against fp32, {plan.scheme.name} {native.sqnr_db:.1f} dB"
    return ChosenScheme(portable.result, portable.session, f"INT8 scheme portable was taken: {told}")


@dataclass(frozen=True)
class _Tried:
    result: QdqResult
    session: Session
    sqnr_db: float


def _try_scheme(workshop: Workshop, plan: Plan, scheme: Scheme) -> _Tried:
    result = workshop.quantize(QdqForm(scheme, plan.bias, plan.conv_output))
    session = workshop.remember(reference_session(result.component.model))
    return _Tried(result, session, _measure(workshop, session))


def _measure(workshop: Workshop, reference: Session) -> float:
    """SQNR in dB of the worst float output over the golden samples; inf where none can be judged."""
    golden = workshop.make_golden("samples", reference)
    comparisons: dict[str, OutputComparison] = {}
    for sample in golden.samples:
        for name, expected in sample.fp32.items():
            if sample.reference is not None and expected.dtype.kind == "f":
                comparison = comparisons.setdefault(name, OutputComparison(name))
                comparison.add(sample.reference[name], expected)
    found = [one.result().sqnr_db for one in comparisons.values()]
    return min((sqnr for sqnr in found if not math.isnan(sqnr)), default=math.inf)
