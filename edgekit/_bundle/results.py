"""A sealed bundle's manifest back to the values that a convert reports."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._bundle.manifest import artifact_value, macs_value
from edgekit._results import OutputParity, Parity, TaskScore
from edgekit._values import Artifact, Gap

if TYPE_CHECKING:
    from edgekit._bundle.read import Bundle

    Json = dict[str, Any]


def read_artifacts(bundle: Bundle) -> tuple[Artifact, ...]:
    """The artifacts as they were built."""
    return tuple(artifact_value(row) for row in bundle.manifest["artifacts"])


def read_parities(bundle: Bundle) -> tuple[Parity, ...]:
    """The proofs that were sealed in."""
    return tuple(_parity(row) for row in bundle.manifest["parity"])


def read_gaps(bundle: Bundle) -> tuple[Gap, ...]:
    """The warnings of the target's check."""
    return tuple(Gap(target=bundle.target, **row) for row in bundle.manifest["gaps"])


def _parity(row: Json) -> Parity:
    task = row["task"]
    return Parity(
        component=row["component"],
        variant=row["variant"],
        status=row["status"],
        reason=row["reason"],
        samples=row["samples"],
        runs_equal=row["runs_equal"],
        against_fp32=tuple(_output(one) for one in row["against_fp32"]),
        against_reference=tuple(_output(one) for one in row["against_reference"]),
        macs=macs_value(row["macs"]),
        gate_failures=tuple(row["gate_failures"]),
        worst_tensors=tuple((one["tensor"], float(one["sqnr_db"])) for one in row["worst_tensors"]),
        task=None if task is None else _task(task),
    )


def _output(row: Json) -> OutputParity:
    top1 = row["top1"]
    return OutputParity(
        output=row["output"],
        sqnr_db=float(row["sqnr_db"]),
        cosine=float(row["cosine"]),
        max_abs=float(row["max_abs"]),
        top1=None if top1 is None else float(top1),
    )


def _task(row: Json) -> TaskScore:
    values: Json = {**row, "fp32": float(row["fp32"]), "artifact": float(row["artifact"])}
    return TaskScore(**values)
