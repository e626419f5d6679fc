"""What a user reads after a profile: one row an artifact, the proof on the device, budget and place."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._profile import find_measurement
from edgekit.reports.convert_report import verdict_line
from edgekit.reports.terminal import clean, quantity, table

if TYPE_CHECKING:
    from edgekit._profile import ArtifactProfile, Profile, ProfileResult

# Heading -> measurement of an artifact.
_COLUMNS = {
    "mean": "latency/mean",
    "p50": "latency/p50",
    "p90": "latency/p90",
    "p99": "latency/p99",
    "first run": "latency/first",
    "load": "load",
    "peak memory": "memory/peak",
    "energy": "energy/total",
    "dynamic energy": "energy/dynamic",
}
LAYERS_SHOWN = 5


def render_profile(result: ProfileResult) -> str:
    """One profile: machine, table, proof, layers, notes, budget and where the JSON is."""
    profile = result.profile
    lines = [
        clean(
            f"{profile.target} bundle for {profile.device}, measured on {profile.place}: {_machine(profile)}"
        )
    ]
    headers = ("component", "variant", *_COLUMNS, "SQNR vs fp32")
    rows = [
        (
            artifact.component,
            artifact.variant,
            *(_cell(artifact, name) for name in _COLUMNS.values()),
            _sqnr(artifact),
        )
        for artifact in profile.artifacts
    ]
    lines.append(table(headers, rows, right=range(2, len(headers))))
    lines += [clean(f"  {name}: {text}") for name, text in profile.conditions.items()]
    lines += [line for artifact in profile.artifacts for line in _layer_lines(artifact)]
    lines += [clean(f"  {note}") for note in profile.notes]
    lines += [f"  {_word(verdict.status)} {verdict_line(verdict)}" for verdict in result.verdicts]
    if profile.problem:
        lines.append(clean(f"NOT COMPLETE: {profile.problem}"))
    lines.append(clean(f"profile: {result.file}"))
    return "\n".join(lines)


def _machine(profile: Profile) -> str:
    names = ("board", "cpu", "machine", "system", "power_mode")
    return ", ".join(profile.facts[name] for name in names if name in profile.facts)


def _cell(artifact: ArtifactProfile, name: str) -> str:
    row = find_measurement(artifact, name)
    return "not measured" if row is None or row.value is None else quantity(row.value, row.unit)


def _sqnr(artifact: ArtifactProfile) -> str:
    worst = min((output.sqnr_db for output in artifact.parity), default=None)
    return "-" if worst is None else "equal" if worst == float("inf") else f"{worst:.1f} dB"


def _layer_lines(artifact: ArtifactProfile) -> list[str]:
    """The layers that take most, or why nobody knows."""
    name = f"  {artifact.component} {artifact.variant}"
    if not artifact.layers:
        return [clean(f"{name}: time by layer: {artifact.layers_note}")] if artifact.layers_note else []
    total = sum(layer.us for layer in artifact.layers) or 1.0
    slowest = sorted(artifact.layers, key=lambda layer: -layer.us)[:LAYERS_SHOWN]
    shown = ", ".join(f"{layer.op} '{layer.name}' {100 * layer.us / total:.0f} %" for layer in slowest)
    return [clean(f"{name}: slowest layers: {shown}")]


def _word(status: str) -> str:
    return "FAILED budget" if status == "does not fit" else "budget"
