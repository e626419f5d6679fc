"""The feasibility report's content: each bundle's proof and profiles beside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._budget import format_quantity, judge_budget
from edgekit._bundle import open_bundle, read_artifacts, read_gaps, read_parities
from edgekit._profile import budget_figures, find_profiles, load_profile
from edgekit._values import Measurement
from edgekit.errors import BundleError, UsageError
from edgekit.registry import load_devices, load_targets

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._budget import Limit
    from edgekit._bundle import Bundle
    from edgekit._profile import Profile
    from edgekit._values import Artifact, Gap, Parity, Verdict

_OVERVIEW = ("latency", "p90_latency", "power", "energy", "memory", "size", "accuracy_loss")
Overall = Literal["fits", "does not fit", "unknown"]


@dataclass(frozen=True)
class DeviceReport:
    """One bundle: what it holds, what was proven, what was measured, and whether it keeps the budget.

    figures: what the budget is judged by, measured ones from the newest profile, others predicted. overall:
    `fits` only where every limit is known to be kept. place: where the figures come from.
    """

    digest: str
    place: str
    device: str
    title: str
    software: str
    target: str
    artifacts: tuple[Artifact, ...]
    sizes: Mapping[str, int]
    parities: tuple[Parity, ...]
    gaps: tuple[Gap, ...]
    warnings: tuple[str, ...]
    tools: Mapping[str, str]
    profiles: tuple[Profile, ...]
    figures: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    overall: Overall
    reasons: tuple[str, ...]

    @property
    def newest(self) -> Profile | None:
        """The profile that the figures come from."""
        return self.profiles[-1] if self.profiles else None


@dataclass(frozen=True)
class Report:
    """All devices beside one budget, and what got worse since a baseline."""

    devices: tuple[DeviceReport, ...]
    limits: Mapping[str, Limit]
    regressions: tuple[str, ...] = ()
    compared: str = ""

    @property
    def columns(self) -> tuple[str, ...]:
        """The metrics of an overview: those of the budget, then the few that everybody asks for."""
        known = {row.metric for device in self.devices for row in device.figures}
        return tuple(dict.fromkeys((*self.limits, *(name for name in _OVERVIEW if name in known))))

    @property
    def passed(self) -> bool:
        """No measured figure breaks the budget, no proof failed, nothing regressed past a limit."""
        broken = any(device.overall == "does not fit" for device in self.devices)
        return not broken and not self.regressions


def describe_bundles(
    paths: Sequence[Path], limits: Mapping[str, Limit], profiles: Sequence[Path] = ()
) -> tuple[DeviceReport, ...]:
    """Each bundle (folder or archive) with the profiles beside it, or those among `profiles` that name it.

    BundleError for a damaged bundle or profile; UsageError for a profile of none of the bundles.
    """
    given = {path: load_profile(path) for path in profiles}
    made = tuple(_describe(path, limits, list(given.values())) for path in paths)
    known = {device.digest for device in made}
    for path, profile in given.items():
        if profile.bundle not in known:
            raise UsageError(
                f"profile '{path}' is of bundle {profile.bundle[:12]}, which is not among those given",
                fix="give its bundle too, or leave the profile out",
            )
    return made


def _describe(path: Path, limits: Mapping[str, Limit], given: Sequence[Profile]) -> DeviceReport:
    with open_bundle(path) as bundle:
        profiles = [one for one in given if one.bundle == bundle.digest] or find_profiles(path, bundle.digest)
        profiles.sort(key=lambda one: one.started)
        parities = read_parities(bundle)
        artifacts = read_artifacts(bundle)
        sizes = {
            artifact.main: sum((bundle.folder / name).stat().st_size for name in artifact.loaded)
            for artifact in artifacts
        }
        figures = _with_foretold(_figures(bundle, sizes, parities, profiles), bundle)
        verdicts = judge_budget(limits, figures)
        overall, reasons = _conclude(verdicts, parities)
        device = bundle.manifest["device"]
        return DeviceReport(
            digest=bundle.digest,
            place=str(path),
            device=device["name"],
            title=device["title"],
            software=device["software"],
            target=bundle.target,
            artifacts=artifacts,
            sizes=sizes,
            parities=parities,
            gaps=read_gaps(bundle),
            warnings=tuple(bundle.manifest["warnings"]),
            tools=dict(bundle.manifest["tools"]),
            profiles=tuple(profiles),
            figures=figures,
            verdicts=verdicts,
            overall=overall,
            reasons=reasons,
        )


def _figures(
    bundle: Bundle, sizes: Mapping[str, int], parities: Sequence[Parity], profiles: Sequence[Profile]
) -> tuple[Measurement, ...]:
    offered = {artifact.component: artifact for artifact in reversed(bundle.artifacts)}
    size = sum(sizes[artifact.main] for artifact in offered.values())
    mains = ", ".join(sorted(artifact.main for artifact in offered.values()))
    rows = [Measurement("size", float(size), "B", "measured", f"{mains} on disk")]
    loss = _accuracy_loss({(one.component, one.variant) for one in offered.values()}, parities)
    rows += [loss] if loss is not None else []
    if not profiles or profiles[-1].matches is not True:
        return tuple(rows)  # what another machine takes says nothing of this device
    return (*rows, *budget_figures(profiles[-1]))


def _with_foretold(known: tuple[Measurement, ...], bundle: Bundle) -> tuple[Measurement, ...]:
    """What nobody measured is predicted, where the bundle's device is one that edgekit knows."""
    devices = {device.name: device for device in load_devices(load_targets().values()).values()}
    device = devices.get(bundle.manifest["device"]["name"])
    metrics = {figure.metric for figure in known}
    foretold = () if device is None else bundle.foretell(device)
    return (*known, *(figure for figure in foretold if figure.metric not in metrics))


def _accuracy_loss(offered: set[tuple[str, str]], parities: Sequence[Parity]) -> Measurement | None:
    """Percent: what the task metric lost, else the share of rows whose top-1 differs from fp32's."""
    lost: list[tuple[float, str]] = []
    for parity in parities:
        if (parity.component, parity.variant) not in offered:
            continue
        if parity.task is not None:
            lost.append((100 * parity.task.drop, f"{parity.task.metric} on {parity.task.samples} samples"))
        else:
            shares = [output.top1 for output in parity.against_fp32 if output.top1 is not None]
            lost += (
                [(100 * (1 - min(shares)), f"top-1 against fp32, {parity.samples} samples")] if shares else []
            )
    if not lost:
        return None
    worst = max(lost)
    return Measurement("accuracy_loss", worst[0], "%", "measured", f"{worst[1]}, on the host")


def _conclude(verdicts: Sequence[Verdict], parities: Sequence[Parity]) -> tuple[Overall, tuple[str, ...]]:
    """One word for the device, and each reason with its margin and what would have to change."""
    failed = [f"{one.component} {one.variant}: {line}" for one in parities for line in one.gate_failures]
    reasons = [*failed, *(explain_verdict(verdict) for verdict in verdicts)]
    if failed or any(verdict.status == "does not fit" for verdict in verdicts):
        return "does not fit", tuple(reasons)
    if not verdicts:
        return "unknown", ("no budget was given: nothing to judge by",)
    known = all(verdict.status == "fits" for verdict in verdicts)
    return ("fits" if known else "unknown"), tuple(reasons)


def explain_verdict(verdict: Verdict) -> str:
    """`p90_latency: 184 ms of 50 ms: 3.7 times too much, must fall by 73 %`."""
    value = verdict.figure.value
    if value is None:
        return f"{verdict.metric}: unknown, {verdict.figure.basis}"
    figures = [format_quantity(float(f"{number:.4g}"), verdict.unit) for number in (value, verdict.limit)]
    label = "" if verdict.figure.kind == "measured" else f", {verdict.figure.kind}"
    said = f"{verdict.metric}: {figures[0]} of {figures[1]}{label}"
    if verdict.status == "fits":
        return f"{said}: {100 * (1 - value / verdict.limit):.0f} % to spare"
    if verdict.status == "unknown":
        return f"{said}: its interval holds the limit"
    fall = 100 * (1 - verdict.limit / value)
    return f"{said}: {value / verdict.limit:.2g} times the limit, must fall by {fall:.0f} %"


def refuse_duplicates(devices: Sequence[DeviceReport]) -> None:
    """BundleError for the same bundle twice: its row would count double."""
    seen: dict[str, str] = {}
    for device in devices:
        if device.digest in seen:
            raise BundleError(
                f"'{device.place}' and '{seen[device.digest]}' are the same bundle", fix="give it once"
            )
        seen[device.digest] = device.place
