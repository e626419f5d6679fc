"""What a user reads after a drift: each tensor with its distances, and the devices that are late."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.reports.terminal import clean, shorten, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._field import DeviceFigure, DriftResult, TensorDrift

_HEADERS = ("tensor", "psi", "ks", "wasserstein", "baseline 1/50/99 %", "field 1/50/99 %", "says")
_MISSED_HEADERS = ("device", "artifact", "", "median", "expected", "at most", "inferences")
_LONGEST_NAME = 40
_MOST_MISSED = 20


def render_drift(result: DriftResult) -> str:
    """The tables and the verdict."""
    head = f"{result.files} field files, {result.devices} devices, {result.inferences} inferences"
    lines = [f"{head}, of bundle {result.bundle[:12]}", ""]
    lines.append(table(_HEADERS, [_row(one) for one in result.tensors], right=(1, 2, 3)))
    lines += ["", *(clean(f"baseline of {name}: {basis}") for name, basis in result.baselines.items())]
    reasons = [one for one in result.tensors if one.reason]
    lines += [*(clean(f"{_name(one)}: {one.status}: {one.reason}") for one in reasons)]
    if any(one.rounding for one in result.tensors):
        lines.append("of outputs, what the artifact's own error against fp32 may be (RMS) is not counted")
    lines += _missed(result)
    lines += [clean(f"note: {note}") for note in result.notes]
    drifted = sum(one.status == "drift" for one in result.tensors)
    unknown = sum(one.status == "unknown" for one in result.tensors)
    lines.append(f"drift: {drifted} of {len(result.tensors)} tensors drifted, {unknown} unknown")
    return "\n".join(lines)


def _missed(result: DriftResult) -> list[str]:
    if not result.held:
        return ["no device could be held against a profile or a prediction"]
    missed = result.missed
    lines = [f"above what was expected: {len(missed)} figures, on {result.held} devices"]
    if missed:
        rows = [_missed_row(one) for one in missed[:_MOST_MISSED]]
        lines.append(table(_MISSED_HEADERS, rows, right=(3, 4, 5, 6)))
        lines += [clean(f"expected: {basis}") for basis in sorted({one.basis for one in missed})]
    if len(missed) > _MOST_MISSED:
        lines.append(f"... and {len(missed) - _MOST_MISSED} more (--json has all)")
    lines += [
        clean(f"{name}: measured is {factor:.3g} times the expected figure (median of devices)")
        for name, factor in result.correction.items()
    ]
    return lines


def _row(one: TensorDrift) -> tuple[str, ...]:
    found = one.distances
    figures = ("", "", "")
    if found is not None:
        figures = (
            f"{found.psi:.3f} ±{found.psi_error:.3f}",
            f"{found.ks:.3f} ±{found.ks_error:.3f}",
            f"{found.wasserstein:.3f} ±{found.wasserstein_error:.3f}",
        )
    return (_name(one), *figures, _join(one.baseline), _join(one.field), one.status)


def _name(one: TensorDrift) -> str:
    return shorten(f"{one.component} {one.side} {one.tensor}", _LONGEST_NAME)


def _join(values: Sequence[float]) -> str:
    return " / ".join(f"{value:.3g}" for value in values)


def _missed_row(one: DeviceFigure) -> tuple[str, ...]:
    figures = (f"{value or 0.0:.3g} {one.unit}" for value in (one.median, one.expected, one.limit))
    artifact = f"{one.component}/{one.variant}".rstrip("/")
    return (shorten(one.device, _LONGEST_NAME), artifact, one.quantity, *figures, str(one.inferences))
