"""The proof of one artifact: one session, each golden sample run twice, outputs compared."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._results import Parity
from edgekit._verify.gate import Lowering, check_fp32, check_reference
from edgekit._verify.metrics import OutputComparison
from edgekit.errors import CannotRunHere, GateError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping
    from pathlib import Path

    from edgekit._results import OutputParity, TaskScore
    from edgekit._values import Artifact
    from edgekit._verify.gate import Gate
    from edgekit._verify.golden import Golden, GoldenSample
    from edgekit.target import Session, Target

    Arrays = Mapping[str, np.ndarray]


class _Comparisons:
    """One OutputComparison per expected output."""

    def __init__(self, scores: frozenset[str] | None) -> None:
        self._scores = scores
        self._by_output: dict[str, OutputComparison] = {}

    def add(self, got: Arrays, expected: Arrays) -> None:
        for output, want in expected.items():
            if output not in got:
                raise GateError(
                    f"the artifact has no output '{output}' (it has {', '.join(sorted(got)) or 'none'})",
                    fix="the target must give every output under its source name",
                )
            comparison = self._by_output.setdefault(output, OutputComparison(output, self._scores))
            comparison.add(np.asarray(got[output]), want)

    def results(self) -> tuple[OutputParity, ...]:
        return tuple(comparison.result() for comparison in self._by_output.values())


@dataclass(frozen=True)
class Streamed:
    """Samples that are made as they are read, with the outputs that hold scores (as in Golden)."""

    samples: Iterable[GoldenSample]
    scores: frozenset[str] | None


def open_and_verify(
    target: Target, artifact: Artifact, *, folder: Path, golden: Golden, gate: Gate
) -> Parity:
    """`verify_artifact` on the target's own session; `unproven` with the reason where it cannot run here."""
    try:
        session = target.open(artifact, folder)
    except CannotRunHere as reason:
        return unproven(artifact, str(reason))
    parity = verify_artifact(session, artifact, golden=golden, gate=gate)
    return with_others(parity, target.open_others(artifact, folder), artifact, golden=golden, gate=gate)


def with_others(
    parity: Parity, others: Mapping[str, Session], artifact: Artifact, *, golden: Golden, gate: Gate
) -> Parity:
    """The proof, with what other kernels miss on the same samples among its failures.

    Where a task metric stands in for the limits against fp32, they need only follow the Q/DQ reference.
    """
    if parity.task is not None:
        gate = replace(gate, min_sqnr_db=None, min_top1=None, min_cosine=None, max_abs=None)
    missed = [
        f"{name}: {line}"
        for name, session in others.items()
        for line in verify_artifact(session, artifact, golden=golden, gate=gate).gate_failures
    ]
    return replace(parity, gate_failures=(*parity.gate_failures, *missed))


def compare_fp32(session: Session, golden: Golden) -> tuple[OutputParity, ...]:
    """Each output of a session beside fp32's over the golden samples, each run once."""
    found = _Comparisons(golden.scores)
    for sample in golden.samples:
        found.add(session.run(sample.feeds), sample.fp32)
    return found.results()


def verify_artifact(
    session: Session, artifact: Artifact, *, golden: Golden, gate: Gate, task: TaskScore | None = None
) -> Parity:
    """Prove one loaded artifact on golden samples.

    Each sample runs twice in the one session; the second outputs must equal the first bit for bit.
    INT8 artifacts are also compared with the Q/DQ reference where the golden data hold it.
    GateError when an output is absent or has another shape; a missed limit is a line in
    `gate_failures` instead.
    """
    return verify_samples(session, artifact, samples=golden, gate=gate, task=task)


def verify_samples(
    session: Session,
    artifact: Artifact,
    *,
    samples: Golden | Streamed,
    gate: Gate,
    task: TaskScore | None = None,
) -> Parity:
    """`verify_artifact` over any number of samples, which are read one at a time."""
    against_fp32, against_reference, intended = (_Comparisons(samples.scores) for _ in range(3))
    unequal: set[str] = set()
    count = 0
    for sample in samples.samples:
        count += 1
        outputs, changed = _run_twice(session, sample.feeds)
        unequal |= changed
        against_fp32.add(outputs, sample.fp32)
        if artifact.variant == "int8" and sample.reference is not None:
            against_reference.add(outputs, sample.reference)
            intended.add(sample.reference, sample.fp32)
    fp32, reference = against_fp32.results(), against_reference.results()
    failures = [f"output '{name}': the second run in one session differs" for name in sorted(unequal)]
    if not fp32:
        failures.append("nothing was compared: no golden sample or no output")
    failures += check_fp32(fp32, gate, task) + check_reference(
        _lowerings(fp32, reference, intended.results()), gate
    )
    return Parity(
        component=artifact.component,
        variant=artifact.variant,
        status="proven",
        reason=artifact.proves,
        samples=count,
        runs_equal=not unequal,
        against_fp32=fp32,
        against_reference=reference,
        macs=artifact.macs,
        gate_failures=tuple(failures),
        task=task,
    )


def _lowerings(
    fp32: Iterable[OutputParity], reference: Iterable[OutputParity], intended: Iterable[OutputParity]
) -> list[Lowering]:
    by_fp32 = {parity.output: parity for parity in fp32}
    by_intended = {parity.output: parity for parity in intended}
    return [Lowering(by_fp32[found.output], found, by_intended[found.output]) for found in reference]


def unproven(artifact: Artifact, reason: str) -> Parity:
    """The Parity of an artifact that cannot run on this host: no figure, and not passed."""
    return Parity(
        component=artifact.component,
        variant=artifact.variant,
        status="unproven",
        reason=reason,
        samples=0,
        runs_equal=False,
        macs=artifact.macs,
    )


def _run_twice(session: Session, feeds: Arrays) -> tuple[dict[str, np.ndarray], set[str]]:
    """First run's outputs, and the names whose second run differs in any bit."""
    # Copies: a runtime may hand out views of buffers that its next run overwrites.
    first = {name: np.array(array) for name, array in session.run(_copied(feeds)).items()}
    second = session.run(_copied(feeds))
    changed = {name for name, array in first.items() if not _same_bits(array, second.get(name))}
    return first, changed | (set(second) - set(first))


def _copied(feeds: Arrays) -> dict[str, np.ndarray]:
    return {name: np.array(array) for name, array in feeds.items()}


def _same_bits(first: np.ndarray, second: np.ndarray | None) -> bool:
    if second is None:
        return False
    second = np.asarray(second)
    same_form = first.dtype == second.dtype and first.shape == second.shape
    return same_form and first.tobytes() == second.tobytes()
