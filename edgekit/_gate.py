"""Gate: bundles and their profiles beside a policy, one check a demand, none left open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import open_bundle
from edgekit._feasibility import describe_bundles, explain_verdict, refuse_duplicates
from edgekit._policy import load_policy
from edgekit._signature import check_signature
from edgekit.errors import BundleError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._feasibility import DeviceReport
    from edgekit._policy import Policy
    from edgekit._results import OutputParity, Parity, Verdict
    from edgekit._signers import Trusted


@dataclass(frozen=True)
class Check:
    """One demand of a policy on one bundle: its kind (a table of the policy), on what, and what was seen."""

    kind: str
    name: str
    passed: bool
    seen: str


@dataclass(frozen=True)
class BundleGate:
    """All checks of one bundle."""

    place: str
    device: str
    digest: str
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        return all(check.passed for check in self.checks)


@dataclass(frozen=True)
class GateResult:
    """A policy's answer for every bundle; `passed` only where every check of every bundle passed."""

    policy: str
    bundles: tuple[BundleGate, ...]

    @property
    def passed(self) -> bool:
        return all(bundle.passed for bundle in self.bundles)


def judge_bundles(bundles: Sequence[Path], policy: Path, profiles: Sequence[Path] = ()) -> GateResult:
    """Judge bundles (folders or archives) by a policy file, with the profiles beside them or those given.

    What nobody knows has not passed: a limit without a figure, a licence that is not told. Raises
    UsageError for a policy that cannot be read, BundleError for a damaged bundle.
    """
    demanded = load_policy(policy)
    described = describe_bundles(bundles, demanded.limits, profiles)
    refuse_duplicates(described)
    made = [BundleGate(one.place, one.device, one.digest, tuple(_check(one, demanded))) for one in described]
    return GateResult(str(policy), tuple(made))


def _check(bundle: DeviceReport, policy: Policy) -> Iterator[Check]:
    if policy.signed_by is not None:
        yield _check_signer(bundle, policy.signed_by)
    for verdict in bundle.verdicts:
        yield _check_limit(verdict, policy)
    for parity in bundle.parities:
        yield _check_proof(parity, unproven=policy.unproven)
        if parity.status == "proven":
            yield from _check_floors(parity, policy)
    if policy.samples is not None:
        known = bundle.samples in policy.samples
        yield Check("samples", "calibration", known, f"calibrated on: {bundle.samples}")
    for component, licence in bundle.licences.items() if policy.licences is not None else ():
        allowed = licence is not None and licence in (policy.licences or ())
        yield Check("licences", component, allowed, licence or "unknown: the model's file names none")


def _check_signer(bundle: DeviceReport, signer: Trusted) -> Check:
    place = Path(bundle.place)
    try:
        with open_bundle(place) as opened:
            check_signature(opened.folder, place, signer)
    except BundleError as error:
        return Check("signature", signer.name, passed=False, seen=error.problem)
    return Check("signature", signer.name, passed=True, seen="signed")


def _check_limit(verdict: Verdict, policy: Policy) -> Check:
    """A limit is kept by a figure of a kind that counts; a prediction that doesn't count is no figure."""
    said = explain_verdict(verdict)
    if verdict.status == "fits" and verdict.figure.kind not in policy.kinds:
        said = f"{said}; only {' or '.join(policy.kinds)} figures count: profile the bundle on its device"
        return Check("limits", verdict.metric, passed=False, seen=said)
    return Check("limits", verdict.metric, verdict.status == "fits", said)


def _check_proof(parity: Parity, *, unproven: bool) -> Check:
    name = f"{parity.component} {parity.variant}"
    if parity.status == "unproven":
        return Check("parity", name, unproven and not parity.gate_failures, f"unproven: {parity.reason}")
    said = "; ".join(parity.gate_failures) or ("two runs differ" if parity.failed else "proven")
    return Check("parity", name, not parity.failed, said)


def _check_floors(parity: Parity, policy: Policy) -> Iterator[Check]:
    name = f"{parity.component} {parity.variant}"
    for floor, least in policy.floors.items():
        if floor == "min_int8_share":
            if parity.variant == "int8":
                yield _compare(name, floor, least, _int8_share(parity))
            continue
        known = [(_of_output(output, floor), output.output) for output in parity.against_fp32]
        worst = min(((value, output) for value, output in known if value is not None), default=None)
        if worst is not None:
            yield _compare(f"{name} '{worst[1]}'", floor, least, worst[0])
        elif floor != "min_top1":  # no output holds scores: there is no top-1 to keep
            yield Check("parity", f"{name} {floor}", passed=False, seen="not compared with fp32")


def _int8_share(parity: Parity) -> float:
    return parity.macs.share if parity.macs else 0.0


def _of_output(output: OutputParity, floor: str) -> float | None:
    figures = {"min_sqnr_db": output.sqnr_db, "min_cosine": output.cosine, "min_top1": output.top1}
    return figures[floor]


def _compare(name: str, floor: str, least: float, value: float) -> Check:
    # NaN is no figure that keeps a floor.
    return Check("parity", f"{name} {floor}", value >= least, f"{value:.6g} of at least {least:.6g}")
