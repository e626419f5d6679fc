"""What a user reads after a convert or verify: a table a bundle, its proof, budget and place."""

from __future__ import annotations

import math
import shlex
from typing import TYPE_CHECKING

from edgekit._results import FORCED_STEPS, GREEDY_STEPS
from edgekit.registry import software_words
from edgekit.reports.terminal import clean, quantity, size, table

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._bundle import BundleProof
    from edgekit._results import (
        BundleResult,
        ConvertResult,
        Measurement,
        OutputParity,
        Parity,
        Verdict,
    )
    from edgekit._values import Artifact, Gap, MacShare

_HEADERS = ("variant", "file", "size", "SQNR vs fp32", "top-1", "MACs in int8", "proof", "gate")
WORST_SHOWN = 5
GAPS_SHOWN = 3
FAILURES_SHOWN = 8  # a decoder has one for each tensor of its cache


def render_convert(result: ConvertResult) -> str:
    """All bundles of a convert, one block each, and a last line that says whether they passed."""
    blocks = ["\n".join(clean(note) for note in result.notes)] if result.notes else []
    blocks += [render_bundle(bundle) for bundle in result.bundles]
    if not result.passed:
        failed = [bundle.device.name for bundle in result.bundles if not bundle.passed]
        blocks.append(f"NOT GOOD: {', '.join(clean(name) for name in failed)} (see the lines marked FAILED)")
    return "\n\n".join(blocks)


def render_bundle(bundle: BundleResult) -> str:
    """One bundle: title, artifact table, failures, proofs in words, gaps, budget, folder."""
    device = bundle.device
    sizes = {artifact.main: _size_on_disk(bundle, artifact) for artifact in bundle.artifacts}
    lines = [clean(f"{device.name}: {device.title} ({software_words(device)})")]
    lines.append(table(_HEADERS, proof_rows(bundle.artifacts, bundle.parities, sizes), right=(2, 3, 4, 5)))
    lines += proof_lines(bundle.parities)
    lines += note_lines(bundle.artifacts, bundle.parities)
    lines += _gap_lines(bundle.gaps)
    lines += [f"  {_budget_word(verdict)} {verdict_line(verdict)}" for verdict in bundle.verdicts]
    judged = {verdict.metric for verdict in bundle.verdicts}
    lines += _foretold_lines([figure for figure in bundle.figures if figure.metric not in judged])
    lines += [f"  {clean(note)}" for note in bundle.notes]
    lines += [clean(f"  {offer.words}") for offer in bundle.offers if offer.words]
    lines.append(clean(f"bundle: {bundle.folder} (sha256 {bundle.digest[:12]})"))
    return "\n".join(lines)


def render_proof(place: str, proof: BundleProof) -> str:
    """What `verify` found in the bundle at `place`: one row an artifact, and the words behind it."""
    rows = [
        (
            parity.component,
            parity.variant,
            _worst_sqnr(parity.against_fp32),
            _worst_top1(parity.against_fp32),
            mac_words(parity.macs),
            parity.status,
            _gate_word(parity),
        )
        for parity in proof.parities
    ]
    headers = ("component", "variant", "SQNR vs fp32", "top-1", "MACs in int8", "proof", "gate")
    lines = [
        clean(
            f"{place}: for {proof.device} ({proof.target}), sha256 {proof.digest[:12]}, every byte as sealed"
        )
    ]
    lines.append(table(headers, rows, right=(2, 3, 4)))
    lines += proof_lines(proof.parities)
    lines += [clean(f"  warning: {warning}") for warning in proof.warnings]
    lines.append("proven" if proof.passed else "NOT PROVEN: see the lines above")
    return "\n".join(lines)


def proof_rows(
    artifacts: Sequence[Artifact], parities: Sequence[Parity], sizes: dict[str, int | None]
) -> list[tuple[str, ...]]:
    """One row an artifact; a figure is the worst over the outputs, `-` where there is none."""
    by_key = {(parity.component, parity.variant): parity for parity in parities}
    rows: list[tuple[str, ...]] = []
    for artifact in artifacts:
        parity = by_key.get((artifact.component, artifact.variant))
        outputs = parity.against_fp32 if parity else ()
        macs = parity.macs if parity and parity.macs else artifact.macs
        rows.append(
            (
                artifact.variant,
                artifact.main,
                size(sizes.get(artifact.main)),
                _worst_sqnr(outputs),
                _worst_top1(outputs),
                mac_words(macs),
                parity.status if parity else "unproven",
                _gate_word(parity),
            )
        )
    return rows


def reference_cells(artifacts: Sequence[Artifact], parities: Sequence[Parity]) -> list[str]:
    """How near each artifact is to its own Q/DQ graph, the worst of its outputs; `-` where it has none."""
    found = {(parity.component, parity.variant): parity.against_reference for parity in parities}
    return [_worst_sqnr(found.get((one.component, one.variant), ())) for one in artifacts]


def proof_lines(parities: Sequence[Parity]) -> list[str]:
    """What the figures rest on, told once for all variants alike, then each one's failures."""
    variants: dict[str, list[str]] = {}
    for parity in parities:
        variants.setdefault(_basis(parity), []).append(f"{parity.component} {parity.variant}")
    lines = [f"  {', '.join(names)}: {basis}" for basis, names in variants.items()]
    lines += [line for parity in parities for line in _finding_lines(parity)]
    return [clean(line) for line in lines]


def note_lines(artifacts: Sequence[Artifact], parities: Sequence[Parity]) -> list[str]:
    """What a reader must know of each file, told once for all variants alike; nothing that a proof says."""
    told = " ".join(parity.reason for parity in parities)
    notes: dict[str, list[str]] = {}
    for artifact in artifacts:
        for note in artifact.notes:
            if note not in told:
                notes.setdefault(note, []).append(f"{artifact.component} {artifact.variant}")
    return [clean(f"  {', '.join(names)}: {note}") for note, names in notes.items()]


def _basis(parity: Parity) -> str:
    if parity.status == "unproven":
        return f"unproven: {parity.reason}"
    samples = "1 sample" if parity.samples == 1 else f"{parity.samples} samples"
    said = f"proven on {samples}, run twice in one session"
    return f"{said}; {parity.reason}" if parity.reason else said


def _finding_lines(parity: Parity) -> list[str]:
    """The task metric, and every failure with the tensors that lose most and the way out."""
    name = f"{parity.component} {parity.variant}"
    lines = []
    if parity.task is not None:
        task = parity.task
        lines.append(
            f"  {name}: {task.metric} {task.artifact:.4g}, fp32 {task.fp32:.4g}, on {task.samples} samples"
        )
    lines += [
        f"  {name}: {output.output}: largest difference {output.max_abs:.2g} from fp32"
        for output in parity.against_fp32
        if output.output.endswith(FORCED_STEPS)
    ]
    lines += [
        f"  {name}: {output.output}: {output.top1:.1%} of the tokens are fp32's"
        for output in parity.against_fp32
        if output.output.endswith(GREEDY_STEPS) and output.top1 is not None
    ]
    lines += [f"  FAILED {name}: {failure}" for failure in parity.gate_failures[:FAILURES_SHOWN]]
    if (left := len(parity.gate_failures) - FAILURES_SHOWN) > 0:
        lines.append(f"  FAILED {name}: and {left} more; --json tells all")
    if parity.gate_failures and parity.worst_tensors:
        worst = [f"'{tensor}' ({sqnr:.1f} dB)" for tensor, sqnr in parity.worst_tensors[:WORST_SHOWN]]
        lines.append(f"  worst tensors: {', '.join(worst)}")
        lines.append(f"  way out: keep a node in float: --float {shlex.quote(parity.worst_tensors[0][0])}")
    return lines


def _gap_lines(gaps: Sequence[Gap]) -> list[str]:
    """The first gaps; the manifest holds them all."""
    lines = [f"  {gap_line(gap)}" for gap in gaps[:GAPS_SHOWN]]
    left = len(gaps) - len(lines)
    return [*lines, f"  and {left} more in manifest.json"] if left else lines


def gap_line(gap: Gap) -> str:
    """A gap on one line: severity, op, node, rule and way out."""
    return clean(f"{gap.severity}: {gap}")


def verdict_line(verdict: Verdict) -> str:
    """`latency 50ms: unknown (nobody has a figure for this device yet)`."""
    figure = verdict.figure
    limit = quantity(verdict.limit, verdict.unit)
    if figure.value is None:
        return clean(f"{verdict.metric} {limit}: {verdict.status} ({figure.basis})")
    said = f"{quantity(figure.value, figure.unit)} {figure.kind}: {figure.basis}"
    return clean(f"{verdict.metric} {limit}: {verdict.status} ({said})")


def _foretold_lines(figures: Sequence[Measurement]) -> list[str]:
    """What has an interval, in one line; what nothing bounds rests on its basis alone, and is told so."""
    lines, bounded = [], []
    for figure in (row for row in figures if row.kind == "predicted"):
        value = "unknown" if figure.value is None else quantity(figure.value, figure.unit)
        if figure.interval is not None and math.isfinite(figure.interval[1]):
            low, high = (quantity(end, figure.unit) for end in figure.interval)
            basis = figure.basis.partition(":")[0]
            bounded.append(clean(f"{figure.metric} {value} [{low}..{high}] by {basis}"))
        else:
            lines.append(clean(f"  predicted {figure.metric} {value}: {figure.basis}"))
    if bounded:
        lines.append(f"  predicted: {', '.join(bounded)}; edgekit estimate says on what these rest")
    return lines


def _budget_word(verdict: Verdict) -> str:
    return "FAILED budget" if verdict.status == "does not fit" else "budget"


def mac_words(macs: MacShare | None) -> str:
    """The share of multiply-accumulates in int8, and of those that integers weigh; `-` if not counted."""
    return "-" if macs is None else "; ".join((f"{100 * macs.share:.1f} %", *macs.other_words()))


def _worst_sqnr(outputs: Sequence[OutputParity]) -> str:
    worst = min((output.sqnr_db for output in outputs), default=None)
    return "-" if worst is None else "equal" if worst == float("inf") else f"{worst:.1f} dB"


def _worst_top1(outputs: Sequence[OutputParity]) -> str:
    shares = [output.top1 for output in outputs if output.top1 is not None]
    return f"{100 * min(shares):.1f} %" if shares else "-"


def _gate_word(parity: Parity | None) -> str:
    if parity is None or parity.status == "unproven":
        return "FAILED" if parity is not None and parity.gate_failures else "-"
    return "passed" if parity.passed else "FAILED"


def _size_on_disk(bundle: BundleResult, artifact: Artifact) -> int | None:
    """Bytes of what a runtime loads, the main file and its external data; None where one is not found."""
    paths = [bundle.folder / name for name in artifact.loaded]
    return sum(path.stat().st_size for path in paths) if all(path.is_file() for path in paths) else None
