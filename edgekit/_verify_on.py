"""`edgekit verify BUNDLE --on qemu-arm64`: the proof again, in the runtime's aarch64 wheel."""

from __future__ import annotations

from contextlib import closing
from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit._arm64_session import Arm64Session, find_arm64
from edgekit._bundle import BundleProof
from edgekit._bundle.verify import choose_gate
from edgekit._verify import OutputComparison, unproven, verify_artifact
from edgekit.errors import CannotRunHere, UsageError
from edgekit.profiles.loader import find_device
from edgekit.registry import target_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._arm64_session import Arm64
    from edgekit._bundle import Bundle
    from edgekit._results import OutputParity, Parity
    from edgekit._values import Artifact, Progress
    from edgekit._verify import Golden
    from edgekit.target import Session, Target

PLACES = ("qemu-arm64",)
# The host's run is meant to give ARM's numbers: what an int8 output may differ by.
_SAME_INT8 = 1e-4


def prove_on(
    place: str,
    bundle: Bundle,
    targets: Mapping[str, Target],
    *,
    gate: Mapping[str, float | None],
    progress: Progress,
) -> BundleProof:
    """The proof of each artifact on the golden data, run at `place`, and beside this host's own run.

    An int8 output that differs from the host's by more than 1e-4 fails. UsageError for an unknown place;
    MissingToolError, CannotRunHere where nothing can run there.
    """
    if place not in PLACES:
        raise UsageError(f"--on {place}: verify knows no such place", fix=f"use one of: {', '.join(PLACES)}")
    target = target_of(targets, bundle.target)
    arm64 = find_arm64()
    parities = []
    for artifact in bundle.artifacts:
        progress(f"run {artifact.main} on emulated ARM64", 0, None)
        golden = bundle.golden(artifact.component)
        parities.append(_prove(artifact, bundle, target, golden=golden, limits=(gate, arm64)))
    device = str(bundle.manifest["device"]["name"])
    return BundleProof(
        bundle.digest, bundle.target, device, tuple(parities), tuple(bundle.manifest["warnings"])
    )


def _prove(
    artifact: Artifact,
    bundle: Bundle,
    target: Target,
    *,
    golden: Golden,
    limits: tuple[Mapping[str, float | None], Arm64],
) -> Parity:
    gate = choose_gate(bundle, artifact, golden, limits[0])
    named = bundle.manifest["device"]
    device = find_device(target.devices(), named["name"], named["software"])
    try:
        host = target.open(artifact, bundle.folder)
        session = Arm64Session(artifact, bundle.folder, target.device_run(artifact, device), limits[1])
    except CannotRunHere as reason:
        return unproven(artifact, str(reason))
    with closing(session):
        parity = verify_artifact(session, artifact, golden=golden, gate=gate)
        rows = compare_runs(session, host, golden)
        furthest = max((row.max_abs for row in rows), default=0.0)
        told = (
            f"{session.runtime}: the aarch64 wheel itself, under qemu-user {limits[1].version} on this host. "
            "Its ARM code gave these numbers; no ARM chip was used, and time and power are not shown. "
            f"Furthest from this host's own run: {furthest:.2g}"
        )
        failures = check_same(rows) if parity.variant == "int8" else []
        return replace(parity, reason=told, gate_failures=(*parity.gate_failures, *failures))


def compare_runs(there: Session, here: Session, golden: Golden) -> list[OutputParity]:
    """How far two runs of one artifact are apart, an output a row; the host's is the expected one."""
    apart: dict[str, OutputComparison] = {}
    for sample in golden.samples:
        got = there.run(sample.feeds)
        for name, value in here.run(sample.feeds).items():
            apart.setdefault(name, OutputComparison(name)).add(got[name], value)
    return [comparison.result() for comparison in apart.values()]


def check_same(rows: Sequence[OutputParity]) -> list[str]:
    """A line for each output that is further from the host's run than int8 may be; NaN always is."""
    return [
        f"output '{row.output}' is {row.max_abs:.2g} off this host's run, and {_SAME_INT8:g} is allowed"
        for row in rows
        if not row.max_abs <= _SAME_INT8
    ]
