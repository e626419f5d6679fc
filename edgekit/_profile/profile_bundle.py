"""Profiles one bundle on one device: copy, run, listen, compare, tidy up."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import open_bundle
from edgekit._cache import tool_versions
from edgekit._device_tool import LayerTime
from edgekit._profile.command_rounds import take_rounds
from edgekit._profile.energy import find_total, measure_energy
from edgekit._profile.explain_break import explain_break
from edgekit._profile.figures import measure_artifact, timed_ms
from edgekit._profile.heard import Heard
from edgekit._profile.job import Trip, choose_artifacts, refuse_unheeded, refuse_unrunnable, turn_seconds
from edgekit._profile.judge import compare_variants
from edgekit._profile.resume import recall_turns, refuse_other_run
from edgekit._profile.tool_file import read_machine
from edgekit._profile.values import ArtifactProfile, Profile, Trace
from edgekit._profile.visit import visit
from edgekit._profile.visit_tool import ToolVisit
from edgekit.profiles.loader import find_device
from edgekit.profiles.probes.open_transport import open_transport
from edgekit.registry import target_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from edgekit._bundle import Bundle
    from edgekit._profile.values import ProfileOptions
    from edgekit._profile.visit import Parities
    from edgekit._results import Measurement
    from edgekit._values import Device, Progress
    from edgekit.profiles.probes.transport import Transport
    from edgekit.target import Target


_MOST_SKEW_S = 5.0


def profile_bundle(
    path: Path,
    place: str,
    *,
    options: ProfileOptions,
    targets: Mapping[str, Target],
    progress: Progress,
) -> Profile:
    """Run a bundle's artifacts on the device at `place` (`local`, `ssh://...`) and measure them side by side.

    What fails before the first event raises; a run that breaks off later is a Profile with its `problem`
    and whatever was heard until then. BundleError, UsageError, TargetError, CannotRunHere, DeviceError.
    """
    transport = open_transport(place, keep=options.keep)
    started = datetime.now(UTC).isoformat(timespec="seconds")
    with open_bundle(path) as bundle:
        target = target_of(targets, bundle.target)
        trip = _plan_trip(bundle, target, options, transport.label)
        if options.earlier is not None:
            nothing = _describe(trip, Heard.of(len(trip.artifacts)), ((),) * len(trip.artifacts), [])
            refuse_other_run(options.earlier, nothing)
        progress(f"reach {place}", 0, None)
        with _opened(transport):
            heard, parities = _visit(trip, transport, progress)
            if heard.problem and not heard.told:
                explain_break(heard, transport, options.patience_s, progress)
        told = [row for output in heard.printed for row in target.read(output.encode())]
        take_rounds(heard, trip)
        profile = _describe(trip, heard, parities, told)
    return replace(profile, started=started)


def _visit(trip: Trip, transport: Transport, progress: Progress) -> tuple[Heard, Parities]:
    """By edgekit's own runner, which needs Python there, or by the benchmark tool that the user named."""
    if trip.options.tool is None:
        return visit(trip, transport, progress)
    heard = Heard.of(len(trip.tools))
    if trip.options.earlier is not None:
        recall_turns(heard, trip.options.earlier)
    with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
        return heard, ToolVisit(trip, transport, heard, Path(scratch), progress).run()


def _plan_trip(bundle: Bundle, target: Target, options: ProfileOptions, place: str) -> Trip:
    artifacts = choose_artifacts(bundle, options)
    wanted = bundle.manifest["device"]
    device = find_device(target.devices(), wanted["name"], wanted["software"])
    if options.tool is not None:
        read_machine(options.tool)
        tools = tuple(target.device_tool(one, bundle.folder, options.accelerator) for one in artifacts)
        refuse_unheeded(tools, options.typed)
        return Trip(bundle, device, artifacts, (), options, place, tools)
    runs = tuple(target.device_run(artifact, device) for artifact in artifacts)
    refuse_unrunnable(artifacts, runs, options.typed)
    return Trip(bundle, device, artifacts, runs, options, place)


@contextmanager
def _opened(transport: Transport) -> Iterator[None]:
    transport.open()
    try:
        yield
    finally:
        transport.close()


def matches_device(device: Device, facts: Mapping[str, str]) -> bool | None:
    """Whether a machine with these facts is the device: by its board's name, or a phone's or Mac's model.

    A generic device is any machine, but for one whose TOML names the processors that it is about. None where
    nobody can tell: the TOML names neither board nor model, or the machine does not say what it is.
    """
    if "model" in device.facts:
        return _fits(facts.get("model", ""), device.facts["model"])
    if device.name.startswith("generic-"):
        wanted, machine = device.facts.get("machine"), facts.get("machine")
        return True if wanted is None else None if machine is None else _fits(machine, wanted)
    board = device.facts.get("board")
    return None if board is None else board in facts.get("board", "")


def _fits(said: str, patterns: str) -> bool:
    """Whether a word fits one of the patterns, which `;` sets apart."""
    return any(fnmatchcase(said, one.strip()) for one in patterns.split(";"))


def _describe(trip: Trip, heard: Heard, parities: Parities, told: list[Measurement]) -> Profile:
    profile = Profile(
        bundle=trip.bundle.digest,
        target=trip.bundle.target,
        device=trip.device.name,
        place=trip.place,
        facts=heard.facts,
        matches=matches_device(trip.device, heard.facts),
        started="",
        conditions=_conditions(trip),
        tools=tool_versions(),
        artifacts=tuple(
            replace(_describe_artifact(trip, heard, index, told), parity=parity)
            for index, parity in enumerate(parities)
        ),
        traces=(*_traces(heard, heard.idle[0] if heard.idle else 0.0), *_soak_traces(trip, heard)),
        problem=heard.problem,
        meters=heard.meters,
    )
    return replace(profile, notes=(*_notes(trip, heard, profile), *compare_variants(profile)))


def _conditions(trip: Trip) -> dict[str, str]:
    options = trip.options
    soak = f"{options.soak_s:g} s" if options.soak_s else "none"
    if any(run.commands for run in trip.runs):
        seconds = turn_seconds(options) * options.rounds
        return {"length": f"{seconds} s of each artifact in {options.rounds} turns", "soak": soak}
    length = f"{options.runs} runs" if options.seconds is None else f"{options.seconds:g} s"
    return {
        "length": f"{length} of each artifact in {options.rounds} turns",
        "warm_up": f"{trip.warm_ups} runs",
        "threads": str(options.threads),
        "soak": soak,
    }


def _describe_artifact(trip: Trip, heard: Heard, index: int, told: list[Measurement]) -> ArtifactProfile:
    """One artifact's figures: what the runner heard of it, and what the target's own tool told."""
    artifact, worker = trip.artifacts[index], heard.workers[index]
    place = f"{artifact.component}/{artifact.variant}"
    own = [row for row in told if row.metric.startswith(f"{place}/")]
    return ArtifactProfile(
        component=artifact.component,
        variant=artifact.variant,
        runtime=worker.runtime or artifact.runtime,
        latencies_ms=timed_ms(worker),
        measurements=(*measure_artifact(place, worker), *measure_energy(place, index, heard), *own),
        layers=tuple(LayerTime(*row) for row in worker.layers),
        layers_note=worker.layers_note,
        turns=tuple(one.count for one in worker.rounds if not one.soak and (one.told is None or one.told.ms)),
        placements=tuple(worker.placements),
        told=tuple(
            {"count": one.told.count, **one.told.ms}
            for one in worker.rounds
            if one.told and one.told.ms and not one.soak
        ),
    )


def _traces(heard: Heard, start: float) -> tuple[Trace, ...]:
    """The sensors' samples by name; a name `power/VDD_IN_W` ends in its unit."""
    names = sorted({name for _, values in heard.samples for name in values})
    found = []
    for name in names:
        kept = [(at - start, values[name]) for at, values in heard.samples if name in values]
        label, _, unit = name.rpartition("_")
        found.append(Trace(label, unit, tuple(at for at, _ in kept), tuple(value for _, value in kept)))
    return tuple(found)


def _soak_traces(trip: Trip, heard: Heard) -> Iterator[Trace]:
    """Mean latency of each soak round over time, since the soak began."""
    for index, artifact in enumerate(trip.artifacts):
        rounds = [one for one in heard.workers[index].rounds if one.soak and one.count]
        if rounds:
            times = tuple(one.end - rounds[0].start for one in rounds)
            means = tuple(one.mean_ms for one in rounds)
            yield Trace(f"soak/{artifact.component} {artifact.variant}", "ms", times, means)


def _notes(trip: Trip, heard: Heard, profile: Profile) -> tuple[str, ...]:
    """What a reader must know: a machine that is not the device, and power that nobody measured."""
    notes = []
    if profile.matches is not True:
        machine = heard.facts.get("board") or heard.facts.get("cpu") or heard.facts.get("machine", "?")
        known = "is not" if profile.matches is False else "may not be"
        notes.append(
            f"measured on '{machine}', which {known} a {trip.device.title}: no figure of that device"
        )
    silent = next((tool for tool in trip.tools if not tool.saves_outputs), None)
    if silent is not None:
        notes.append(f"{silent.name} saves no outputs: what this device computed was compared with nothing")
    if find_total(heard) is None:
        # Power is never modelled under a measured heading: where no meter is, that is said.
        notes.append(f"power and energy: not measured, {_why_no_power(heard.facts)}")
    if abs(heard.skew_s) > _MOST_SKEW_S:
        where = "ahead of" if heard.skew_s > 0 else "behind"
        off = f"{abs(heard.skew_s):.0f} s {where} this machine's"
        notes.append(f"the device's date is {off}: times here are this machine's")
    notes += tell_load(heard.facts)
    if heard.facts.get("thermal_status", "0") != "0":
        level = heard.facts["thermal_status"]
        notes.append(f"the device was throttling before the run began (Android's thermal status {level})")
    return tuple(notes)


def tell_load(facts: Mapping[str, str]) -> list[str]:
    """A machine whose cores all had other work: its latencies are those of a queue."""
    load, cores = facts.get("load", ""), facts.get("cores", "")
    if not cores.isdigit() or not load.replace(".", "", 1).isdigit() or float(load) < int(cores):
        return []
    return [
        f"the machine was busy before the run began (load {load} on {cores} cores): latencies are too long "
        "and spread, and what INT8 gains is hidden; measure again when it is idle"
    ]


def _why_no_power(facts: Mapping[str, str]) -> str:
    """A phone on a cable has a fuel gauge that shows the charger."""
    supply = facts.get("supply", "")
    if not supply.startswith("plugged in"):
        return "the device shows no power meter that adds up to what it takes"
    return (
        f"the phone is {supply}: connect over Wi-Fi (`adb tcpip 5555`, unplug it, `adb connect PHONE:5555`), "
        "and its battery is the meter"
    )
