"""Proves a bundle again, anywhere: every byte, then each artifact on its golden samples."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit._bundle.read import Bundle, open_bundle
from edgekit._verify import find_decoder, fits, gate_for, open_and_verify, prove_steps
from edgekit.errors import BundleError
from edgekit.registry import target_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._bundle.limits import Limits
    from edgekit._results import Parity
    from edgekit._values import Artifact
    from edgekit._verify import Gate, Golden
    from edgekit.target import Target

# Limits for an artifact whose accuracy nobody can judge: it must only equal its own Q/DQ graph.
NO_ACCURACY: dict[str, float | None] = dict.fromkeys(("min_sqnr_db", "min_top1", "min_cosine", "max_abs"))


@dataclass(frozen=True)
class BundleProof:
    """What `verify_bundle` found: the digest, and one fresh Parity per artifact."""

    digest: str
    target: str
    device: str
    parities: tuple[Parity, ...]
    warnings: tuple[str, ...]

    @property
    def passed(self) -> bool:
        """Whether every artifact was proven and passed; an empty bundle has proven nothing."""
        return bool(self.parities) and all(parity.passed for parity in self.parities)


def verify_bundle(
    path: Path,
    targets: Mapping[str, Target],
    *,
    gate: Mapping[str, float | None] | None = None,
    limits: Limits | None = None,
) -> BundleProof:
    """Check every byte of a bundle (folder or archive) and prove its artifacts here and now.

    The gates are this edgekit's own with the user's limits in `gate` on top, never the bundle's:
    whoever changed a bundle could have changed those. BundleError for a damaged bundle,
    TargetError where no installed target opens it.
    """
    with open_bundle(path, limits) as bundle:
        return prove_bundle(bundle, targets, gate=gate)


def prove_bundle(
    bundle: Bundle, targets: Mapping[str, Target], *, gate: Mapping[str, float | None] | None = None
) -> BundleProof:
    """`verify_bundle` on a bundle that is open already."""
    target = target_of(targets, bundle.target)
    golden = {row["name"]: bundle.golden(row["name"]) for row in bundle.manifest["components"]}
    parities = tuple(
        open_and_verify(
            target,
            artifact,
            folder=bundle.folder,
            golden=golden[artifact.component],
            gate=choose_gate(bundle, artifact, golden[artifact.component], gate or {}),
        )
        for artifact in bundle.artifacts
    )
    parities = _with_steps(bundle, parities, target, golden, gate or {})
    return BundleProof(
        digest=bundle.digest,
        target=bundle.target,
        device=str(bundle.manifest["device"]["name"]),
        parities=parities,
        warnings=tuple(bundle.manifest["warnings"]),
    )


def _with_steps(
    bundle: Bundle,
    parities: tuple[Parity, ...],
    target: Target,
    golden: Mapping[str, Golden],
    gate: Mapping[str, float | None],
) -> tuple[Parity, ...]:
    """The parities, with a decoder's teacher-forced steps where the bundle holds them."""
    sequence, decoder = bundle.sequence(), find_decoder(golden)
    if sequence is None:
        return parities
    if decoder is None or not fits(sequence, decoder):
        raise BundleError(
            "the bundle's teacher-forced steps are of no decoder in it", fix="convert the model again"
        )
    return tuple(
        prove_steps(
            list(zip(bundle.artifacts, parities, strict=True)),
            sequence,
            decoder,
            open_session=lambda artifact: target.open(artifact, bundle.folder),
            gate=lambda artifact: choose_gate(bundle, artifact, golden[artifact.component], gate),
        )
    )


def choose_gate(
    bundle: Bundle, artifact: Artifact, golden: Golden, limits: Mapping[str, float | None]
) -> Gate:
    """The gate of one artifact here: without accuracy limits where only arithmetic can be judged.

    Scales fitted to real data say nothing about noise: where random golden data stand in for private
    samples, INT8 must agree with its Q/DQ reference, and with fp32 only as far as the user asks.
    """
    noise = golden.kind == "random" and bundle.manifest["samples"] != "none"
    judged_by_reference = all(sample.reference is not None for sample in golden.samples)
    if noise and artifact.variant == "int8" and judged_by_reference:
        return gate_for(artifact.variant, NO_ACCURACY | dict(limits))
    return gate_for(artifact.variant, limits)
