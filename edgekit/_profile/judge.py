"""What a profile says of a budget, and whether INT8 was worth it."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from edgekit._budget import judge_budget
from edgekit._values import Measurement

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._budget import Limit
    from edgekit._profile.values import ArtifactProfile, Profile
    from edgekit._values import Verdict

# Budget metric -> what it is called among the measurements of one artifact.
_NAMES = {
    "latency": "latency/mean",
    "p50_latency": "latency/p50",
    "p90_latency": "latency/p90",
    "p95_latency": "latency/p95",
    "p99_latency": "latency/p99",
    "memory": "memory/peak",
    "power": "power/mean",
    "energy": "energy/inference",
}


def judge_profile(profile: Profile, limits: Mapping[str, Limit]) -> tuple[Verdict, ...]:
    """One verdict a limit, on the first variant of each component (what the bundle offers).

    Components run one after the other: their latencies and energies add up, of memory and power the
    largest counts. A figure that one component lacks is unknown.
    """
    return judge_budget(limits, budget_figures(profile))


def budget_figures(profile: Profile) -> tuple[Measurement, ...]:
    """What a profile says of each budget metric, as `judge_profile` counts it."""
    rows = [row for name in _NAMES if (row := _total(profile, name)) is not None]
    hottest = [max(trace.values) for trace in profile.traces if trace.unit == "C" and trace.values]
    if hottest:
        rows.append(
            Measurement("temperature", max(hottest), "C", "measured", f"hottest sensor; on {profile.place}")
        )
    return tuple(rows)


def _total(profile: Profile, metric: str) -> Measurement | None:
    offered: dict[str, ArtifactProfile] = {}
    for artifact in profile.artifacts:
        offered.setdefault(artifact.component, artifact)
    rows = [find_measurement(artifact, _NAMES[metric]) for artifact in offered.values()]
    known = [row for row in rows if row is not None and row.value is not None]
    if not known or len(known) < len(rows):
        return None
    values = [row.value for row in known if row.value is not None]
    total = max(values) if metric in ("memory", "power") else sum(values)
    basis = known[0].basis if len(known) == 1 else f"{len(known)} components one after the other"
    return replace(known[0], metric=metric, value=total, basis=f"{basis}; on {profile.place}")


def find_measurement(artifact: ArtifactProfile, name: str) -> Measurement | None:
    """The measurement `<component>/<variant>/<name>` of an artifact, where there is one."""
    full = f"{artifact.component}/{artifact.variant}/{name}"
    return next((row for row in artifact.measurements if row.metric == full), None)


def compare_variants(profile: Profile) -> tuple[str, ...]:
    """A line for each component whose INT8 artifact is not faster than its float baseline here."""
    lines = []
    for artifact in profile.artifacts:
        if artifact.variant != "int8":
            continue
        for other in profile.artifacts:
            mine, theirs = find_measurement(artifact, "latency/p50"), find_measurement(other, "latency/p50")
            beside = other.component == artifact.component and other.variant in ("fp16", "fp32")
            if not beside or mine is None or theirs is None or mine.value is None or theirs.value is None:
                continue
            if mine.value >= theirs.value:
                lines.append(
                    f"{artifact.component}: INT8 (p50 {mine.value:.3g} ms) is not faster than "
                    f"{other.variant} (p50 {theirs.value:.3g} ms) on {profile.place}: not worth it there"
                )
    return tuple(lines)
