"""The INT8 guard: which variant of a component is offered as the best, and why that is not INT8."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._results import Offer

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._results import Parity
    from edgekit._values import Artifact

# What INT8 is held against, the first that the bundle holds.
_BASELINES = ("fp16", "fp32")


def choose_offers(
    artifacts: Sequence[Artifact],
    parities: Sequence[Parity],
    sizes: Mapping[str, int],
    latencies: Mapping[tuple[str, str], float] | None = None,
) -> tuple[Offer, ...]:
    """One offer a component: its first artifact, but no INT8 that lost too much, or is larger or slower.

    sizes: main file -> bytes that a runtime loads. latencies: (component, variant) -> ms as measured on the
    device, where it was. INT8 is held against the bundle's fp16 artifact, or without one its fp32; in size
    only where one runtime loads both, for code compiled for one unit is no larger or smaller form of a file
    that another unit reads. Where no float artifact passed its own gate, INT8 stays the offer, with the
    reasons against it.
    """
    components = dict.fromkeys(artifact.component for artifact in artifacts)
    by_key: dict[tuple[str, str], Parity] = {
        (parity.component, parity.variant): parity for parity in parities
    }
    return tuple(
        _offer([one for one in artifacts if one.component == name], by_key, sizes, latencies or {})
        for name in components
    )


def _offer(
    artifacts: Sequence[Artifact],
    parities: Mapping[tuple[str, str], Parity],
    sizes: Mapping[str, int],
    latencies: Mapping[tuple[str, str], float],
) -> Offer:
    first, by_variant = artifacts[0], {artifact.variant: artifact for artifact in artifacts}
    if first.variant != "int8":
        return Offer(first.component, first.variant)
    passing = [
        name
        for name in _BASELINES
        if name in by_variant and not _failed(parities.get((first.component, name)))
    ]
    baseline = next((by_variant[name] for name in _BASELINES if name in by_variant), None)
    reasons = _lost(parities.get((first.component, "int8")))
    if baseline is not None:
        if first.runtime == baseline.runtime:
            reasons += _worse("larger", "{} B", sizes.get(first.main), sizes.get(baseline.main), baseline)
        ours, theirs = (latencies.get((first.component, one.variant)) for one in (first, baseline))
        reasons += _worse("slower", "{:.4g} ms", ours, theirs, baseline)
    variant = by_variant[passing[0]].variant if reasons and passing else first.variant
    return Offer(first.component, variant, tuple(reasons))


def _failed(parity: Parity | None) -> bool:
    return parity is not None and parity.failed


def _lost(parity: Parity | None) -> list[str]:
    """Why INT8 is not accurate enough; nothing where it passed, or could not run here."""
    if parity is None or not parity.failed:
        return []
    return [f"it failed its gate: {parity.gate_failures[0] if parity.gate_failures else 'two runs differ'}"]


def _worse(word: str, form: str, ours: float | None, theirs: float | None, baseline: Artifact) -> list[str]:
    if ours is None or theirs is None or ours <= theirs:
        return []
    return [f"it is {word} than {baseline.variant}: {form.format(ours)} beside {form.format(theirs)}"]
