"""The feasibility report's content: each bundle's proof and profiles beside the budget."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from edgekit._budget import AT_LEAST, format_quantity, judge_budget
from edgekit._bundle import (
    accuracy_loss,
    host_figures,
    loaded_size,
    open_bundle,
    read_artifacts,
    read_gaps,
    read_parities,
)
from edgekit._field_figures import load_measured
from edgekit._foretold import foretell_known, foretell_request
from edgekit._guard import choose_offers
from edgekit._layer_table import debug_file, load_errors
from edgekit._profile import (
    budget_figures,
    compare_variants,
    find_measurement,
    find_profiles,
    load_profile,
)
from edgekit.errors import BundleError, UsageError

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence
    from pathlib import Path

    from edgekit._budget import Limit
    from edgekit._field_figures import FieldFigures
    from edgekit._layer_table import ErrorRow
    from edgekit._profile import Profile
    from edgekit._results import Measurement, Parity, Verdict
    from edgekit._scenario import Scenario
    from edgekit._values import Artifact, Gap

_OVERVIEW = ("latency", "p90_latency", "power", "energy", "dynamic_energy", "memory", "size", "accuracy_loss")
# What a profile tells of one run of each component, which is no request.
_OF_ONE_RUN = ("latency", "p90_latency", "energy", "dynamic_energy")
#: `likely ...` where a prediction decides it: nobody has measured that device.
Overall = Literal["fits", "likely fits", "unknown", "likely does not fit", "does not fit"]


@dataclass(frozen=True)
class DeviceReport:
    """One bundle: what it holds, what was proven, what was measured, and whether it keeps the budget.

    figures: what the budget is judged by, measured ones from the newest profile, others predicted. overall:
    `fits` only where every limit is known to be kept. place: where the figures come from. losses: the
    accuracy loss by `<component>/<variant>`. errors: what each layer loses, where a debug lies beside the
    bundle. golden: what the golden data are. samples: what calibrated the scales. licences: by component.
    field: of which devices in the field figures come; "" for none.
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
    losses: Mapping[str, Measurement]
    errors: tuple[ErrorRow, ...]
    sources: Mapping[str, str]
    golden: str
    samples: str
    licences: Mapping[str, str | None]
    field: str = ""

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
    paths: Sequence[Path],
    limits: Mapping[str, Limit],
    profiles: Sequence[Path] = (),
    fields: Sequence[Path] = (),
    scenario: Scenario | None = None,
) -> tuple[DeviceReport, ...]:
    """Each bundle (folder or archive) with the profiles beside it, or those among `profiles` that name it.

    What no profile measured, the fleets' measured.json in `fields` tell. scenario: the request that latency,
    energy and tokens are of, for bundles of several components. BundleError for a damaged bundle or
    profile, FieldError for a damaged measured.json; UsageError for one of none of the bundles, for two of the
    same, and for one that lacks a component.
    """
    given = {path: load_profile(path) for path in profiles}
    seen = {path: load_measured(path) for path in fields}
    by_bundle = _by_bundle(seen)
    made = tuple(_describe(path, limits, list(given.values()), by_bundle, scenario) for path in paths)
    known = {device.digest for device in made}
    of = [("profile", path, one.bundle) for path, one in given.items()]
    of += [("field file", path, one.bundle) for path, one in seen.items()]
    for what, path, bundle in of:
        if bundle not in known:
            raise UsageError(
                f"{what} '{path}' is of bundle {bundle[:12]}, which is not among those given",
                fix="give its bundle too, or leave the file out",
            )
    return made


def _by_bundle(fields: Mapping[Path, FieldFigures]) -> dict[str, FieldFigures]:
    """Digest -> what its fleet took; UsageError for two files of one bundle."""
    found: dict[str, FieldFigures] = {}
    for path, one in fields.items():
        if one.bundle in found:
            raise UsageError(
                f"field file '{path}' is the second of bundle {one.bundle[:12]}",
                fix="merge the fleet with one `edgekit drift`",
            )
        found[one.bundle] = one
    return found


def _describe(
    path: Path,
    limits: Mapping[str, Limit],
    given: Sequence[Profile],
    fields: Mapping[str, FieldFigures],
    scenario: Scenario | None,
) -> DeviceReport:
    with open_bundle(path) as bundle:
        profiles = [one for one in given if one.bundle == bundle.digest] or find_profiles(path, bundle.digest)
        profiles.sort(key=lambda one: one.started)
        parities = read_parities(bundle)
        artifacts = read_artifacts(bundle)
        sizes = {artifact.main: loaded_size([artifact], bundle.folder) for artifact in artifacts}
        device = bundle.manifest["device"]
        measured = _measured(profiles, {one.component for one in artifacts})
        foretold = foretell_known(bundle)
        if scenario is not None:
            foretold = foretell_request(bundle, scenario, device_latencies(profiles))
            measured = tuple(one for one in measured if one.metric not in _OF_ONE_RUN)
        known = (*host_figures(bundle), *measured)
        field = fields.get(bundle.digest)
        seen = () if field is None else _beyond(known, field.budget(artifacts))
        figures = (*known, *seen, *_beyond((*known, *seen), foretold))
        verdicts = judge_budget(limits, figures)
        overall, reasons = _conclude(verdicts, parities)
        offers = choose_offers(artifacts, parities, sizes, device_latencies(profiles))
        reasons = (*reasons, *(offer.words for offer in offers if offer.words))
        reasons = (*reasons, *(compare_variants(profiles[-1]) if profiles else ()))
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
            losses=_losses(parities),
            errors=load_errors(beside, device["name"]) if (beside := debug_file(path)).is_file() else (),
            sources={row["name"]: row["source_sha256"] for row in bundle.manifest["components"]},
            golden=", ".join(sorted({row["golden"]["kind"] for row in bundle.manifest["components"]})),
            samples=bundle.manifest["samples"],
            licences={row["name"]: row["licence"] for row in bundle.manifest["components"]},
            field=field.place if field is not None and seen else "",
        )


def _losses(parities: Sequence[Parity]) -> Mapping[str, Measurement]:
    """`<component>/<variant>` -> its accuracy loss, of every artifact that was compared."""
    found = {f"{one.component}/{one.variant}": accuracy_loss([one]) for one in parities}
    return {name: loss for name, loss in found.items() if loss is not None}


def device_latencies(profiles: Sequence[Profile]) -> dict[tuple[str, str], float]:
    """(component, variant) -> median ms on the bundle's own device, by the newest profile."""
    if not profiles or profiles[-1].matches is not True:
        return {}  # what another machine takes says nothing of this device
    found = {
        (artifact.component, artifact.variant): find_measurement(artifact, "latency/p50")
        for artifact in profiles[-1].artifacts
    }
    return {name: row.value for name, row in found.items() if row is not None and row.value is not None}


def _measured(profiles: Sequence[Profile], components: Collection[str]) -> tuple[Measurement, ...]:
    """What the newest profile tells of the device; nothing where it ran on another machine."""
    if not profiles or profiles[-1].matches is not True:
        return ()
    return budget_figures(profiles[-1], components)


def _beyond(known: Sequence[Measurement], more: Sequence[Measurement]) -> tuple[Measurement, ...]:
    """Those of `more` whose metric is not known yet."""
    metrics = {figure.metric for figure in known}
    return tuple(figure for figure in more if figure.metric not in metrics)


def _conclude(verdicts: Sequence[Verdict], parities: Sequence[Parity]) -> tuple[Overall, tuple[str, ...]]:
    """One word for the device, and each reason with its margin and what would have to change."""
    failed = [f"{one.component} {one.variant}: {line}" for one in parities for line in one.gate_failures]
    reasons = [*failed, *(explain_verdict(verdict) for verdict in verdicts)]
    broken = [verdict for verdict in verdicts if verdict.status == "does not fit"]
    if failed or any(verdict.figure.kind == "measured" for verdict in broken):
        return "does not fit", tuple(reasons)
    if not verdicts:
        return "unknown", ("no budget was given: nothing to judge by",)
    if broken:
        return "likely does not fit", tuple(reasons)
    if any(verdict.status == "unknown" for verdict in verdicts):
        return "unknown", tuple(reasons)
    measured = all(verdict.figure.kind == "measured" for verdict in verdicts)
    return ("fits" if measured else "likely fits"), tuple(reasons)


def explain_verdict(verdict: Verdict) -> str:
    """`p90_latency: 184 ms of 50 ms: 3.7 times too much, must fall by 73 %`."""
    value = verdict.figure.value
    if value is None:
        return f"{verdict.metric}: unknown, {verdict.figure.basis}"
    figures = [format_quantity(float(f"{number:.4g}"), verdict.unit) for number in (value, verdict.limit)]
    label = "" if verdict.figure.kind == "measured" else f", {verdict.figure.kind}"
    said = f"{verdict.metric}: {figures[0]} of {figures[1]}{label}"
    if verdict.status == "unknown":
        return f"{said}: its interval holds the limit"
    least = verdict.metric in AT_LEAST
    if verdict.status == "fits":
        spare = value / verdict.limit - 1 if least else 1 - value / verdict.limit
        return f"{said}: {100 * spare:.0f} % to spare"
    if least:
        return (
            f"{said} asked for: must grow {verdict.limit / value:.2g} times" if value else f"{said} asked for"
        )
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
