"""`edgekit verify BUNDLE --on qemu-arm64`: the proof again, in the runtime's aarch64 wheel."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit._arm64_session import Arm64Session, find_arm64
from edgekit._bundle import BundleProof
from edgekit._bundle.verify import choose_gate
from edgekit._verify import OutputComparison, unproven, verify_artifact
from edgekit.errors import CannotRunHere, TargetError, UsageError
from edgekit.profiles.loader import find_device

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._arm64_session import Arm64
    from edgekit._bundle import Bundle
    from edgekit._values import Artifact, Parity, Progress
    from edgekit._verify import Gate, Golden
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
    target = targets.get(bundle.target)
    if target is None:
        raise TargetError(
            f"bundle is for target '{bundle.target}', which is not installed", fix="install its plugin"
        )
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
    gate: Gate = choose_gate(bundle, artifact, golden, limits[0])
    named = bundle.manifest["device"]
    device = find_device(target.devices(), named["name"], named["software"])
    try:
        session = Arm64Session(artifact, bundle.folder, target.device_run(artifact, device), limits[1])
    except CannotRunHere as reason:
        return unproven(artifact, str(reason))
    try:
        parity = verify_artifact(session, artifact, golden=golden, gate=gate)
        words = (
            f"{session.runtime}: the aarch64 wheel itself, under qemu-user {limits[1].version} on this host. "
            "Its ARM code gave these numbers; no ARM chip was used, and time and power are not shown"
        )
        return _beside_host(parity, session, target.open(artifact, bundle.folder), golden=golden, words=words)
    finally:
        session.close()


def _beside_host(parity: Parity, session: Session, host: Session, *, golden: Golden, words: str) -> Parity:
    """The parity with how far both runs are apart; too far in int8 is a failure."""
    apart: dict[str, OutputComparison] = {}
    for sample in golden.samples:
        there, here = session.run(sample.feeds), host.run(sample.feeds)
        for name, value in here.items():
            apart.setdefault(name, OutputComparison(name)).add(there[name], value)
    rows = [comparison.result() for comparison in apart.values()]
    furthest = max((row.max_abs for row in rows), default=0.0)
    failures = [
        f"output '{row.output}' is {row.max_abs:.2g} off this host's run, and {_SAME_INT8:g} is allowed"
        for row in rows
        if parity.variant == "int8" and not row.max_abs <= _SAME_INT8
    ]
    told = f"{words}. Furthest from this host's own run: {furthest:.2g}"
    return replace(parity, reason=told, gate_failures=(*parity.gate_failures, *failures))
