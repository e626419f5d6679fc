"""What a profile says of a budget, and whether INT8 was worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit._budget import judge_budget
from edgekit._results import Measurement

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from edgekit._budget import Limit
    from edgekit._profile.values import ArtifactProfile, Profile
    from edgekit._results import Verdict

# Budget metric -> what it is called among the measurements of one artifact.
_NAMES = {
    "latency": "latency/mean",
    "p50_latency": "latency/p50",
    "p90_latency": "latency/p90",
    "p95_latency": "latency/p95",
    "p99_latency": "latency/p99",
    "memory": "memory/peak",
    "power": "power/mean",
    "energy": "energy/total",
    "dynamic_energy": "energy/dynamic",
    "throughput": "throughput",
}
# The component that makes one token a run, as scenarios call it.
_DECODER = "decode"


def _one_after_the_other(rates: Sequence[float]) -> float:
    """Runs a second of all together, from each one's own."""
    return 1 / sum(1 / rate for rate in rates) if all(rates) else 0.0


# How the figures of components that run one after the other make one; what is not here adds up.
_ADD: Mapping[str, Callable[[Sequence[float]], float]] = {
    "memory": max,
    "power": max,
    "throughput": _one_after_the_other,
}


def judge_profile(
    profile: Profile, components: Collection[str], limits: Mapping[str, Limit], host: Sequence[Measurement]
) -> tuple[Verdict, ...]:
    """One verdict a limit, on the first variant of each component (what the bundle offers).

    Components run one after the other: their latencies and energies add up, of memory and power the
    largest counts. A figure that one of the bundle's `components` lacks is unknown. host: size and accuracy
    loss.
    """
    return judge_budget(limits, (*host, *budget_figures(profile, components)))


def budget_figures(profile: Profile, components: Collection[str]) -> tuple[Measurement, ...]:
    """What a profile says of each budget metric of a bundle, as `judge_profile` counts it."""
    whole = {one.component for one in profile.artifacts} >= set(components)
    rows = [row for name in _NAMES if whole and (row := _total(profile, name)) is not None]
    rows += _tokens(profile)
    hottest = [max(trace.values) for trace in profile.traces if trace.unit == "C" and trace.values]
    if hottest:
        rows.append(
            Measurement("temperature", max(hottest), "C", "measured", f"hottest sensor; on {profile.place}")
        )
    return tuple(rows)


def _tokens(profile: Profile) -> list[Measurement]:
    """Tokens a second of a bundle that has a decoder: one token a run of it."""
    decoders = [artifact for artifact in profile.artifacts if artifact.component == _DECODER]
    row = find_measurement(decoders[0], "throughput") if decoders else None
    if row is None or row.value is None:
        return []
    basis = f"{row.basis}; one token a run of component '{_DECODER}', on {profile.place}"
    return [replace(row, metric="tokens_per_s", unit="tokens/s", basis=basis)]


def _total(profile: Profile, metric: str) -> Measurement | None:
    offered: dict[str, ArtifactProfile] = {}
    for artifact in profile.artifacts:
        offered.setdefault(artifact.component, artifact)
    rows = [find_measurement(artifact, _NAMES[metric]) for artifact in offered.values()]
    known = [row for row in rows if row is not None and row.value is not None]
    if not known or len(known) < len(rows):
        return None
    add = _ADD.get(metric, sum)
    total = add([row.value for row in known if row.value is not None])
    basis = known[0].basis if len(known) == 1 else f"{len(known)} components one after the other"
    return replace(
        known[0],
        metric=metric,
        value=total,
        basis=f"{basis}; on {profile.place}",
        interval=_add_intervals(known, add),
    )


def _add_intervals(
    rows: Sequence[Measurement], add: Callable[[Sequence[float]], float]
) -> tuple[float, float] | None:
    """All low ends together, and all high ones: as wide as it can be. None where no figure has one."""
    if all(row.interval is None for row in rows):
        return None
    ends = [row.interval or (row.value or 0.0, row.value or 0.0) for row in rows]
    return add([low for low, _ in ends]), add([high for _, high in ends])


def find_measurement(artifact: ArtifactProfile, name: str) -> Measurement | None:
    """The measurement `<component>/<variant>/<name>` of an artifact, where there is one."""
    full = f"{artifact.component}/{artifact.variant}/{name}"
    return next((row for row in artifact.measurements if row.metric == full), None)


def compare_variants(profile: Profile) -> tuple[str, ...]:
    """Whether INT8 was worth it here: a line for each component and float baseline, with speed and energy."""
    lines = []
    for artifact in profile.artifacts:
        if artifact.variant != "int8":
            continue
        for other in profile.artifacts:
            mine, theirs = find_measurement(artifact, "latency/p50"), find_measurement(other, "latency/p50")
            beside = other.component == artifact.component and other.variant in ("fp16", "fp32")
            if not beside or mine is None or theirs is None or mine.value is None or theirs.value is None:
                continue
            said = (
                f"{artifact.component}: INT8 takes {mine.value:.3g} ms (p50), "
                f"{other.variant} {theirs.value:.3g} ms"
            )
            saved = _saved_energy(artifact, other)
            if mine.value < theirs.value:
                lines.append(
                    f"{said}: {theirs.value / mine.value:.2g} times as fast on {profile.place}{saved}"
                )
            else:
                lines.append(f"{said}: INT8 is not worth it on {profile.place}{saved}")
    return tuple(lines)


def _saved_energy(int8: ArtifactProfile, other: ArtifactProfile) -> str:
    """What INT8 takes of the baseline's energy; "" where no meter told."""
    mine, theirs = (find_measurement(one, "energy/total") for one in (int8, other))
    if mine is None or theirs is None or not mine.value or not theirs.value:
        return ""
    return f", with {100 * mine.value / theirs.value:.0f} % of its energy"
