"""What a run takes to the device: the job, the runner's scripts, the artifacts and their golden inputs."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgekit._bundle import MANIFEST
from edgekit._profile.resume import count_turns
from edgekit.errors import CannotRunHere, UsageError
from edgekit.profiles import probes

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._bundle import Bundle
    from edgekit._device_tool import DeviceTool
    from edgekit._profile.values import ProfileOptions
    from edgekit._values import Artifact, Device
    from edgekit.target import DeviceRun

SCHEMA = "edgekit.profile-job/1"
#: Folder beside the bundle's files on the device; no bundle file can have that name.
FOLDER = ".edgekit"
# How long trtexec times in a turn where the user names no time.
_TURN_S = 3
# What a target's own scripts decide for themselves.
_NOT_THEIRS = frozenset({"runs", "warm_up", "threads", "accelerator"})
SCRIPTS = Path(probes.__file__).parent / "device"


def choose_artifacts(bundle: Bundle, options: ProfileOptions) -> tuple[Artifact, ...]:
    """The artifacts that the options name, all without any; UsageError for a name that is not there."""
    for kind, wanted in (("component", options.components), ("variant", options.variants)):
        known = {str(getattr(artifact, kind)) for artifact in bundle.artifacts}
        for name in wanted:
            if name not in known:
                raise UsageError(
                    f"the bundle has no {kind} '{name}'", fix=f"it has: {', '.join(sorted(known))}"
                )
    return tuple(
        artifact
        for artifact in bundle.artifacts
        if (not options.components or artifact.component in options.components)
        and (not options.variants or artifact.variant in options.variants)
    )


@dataclass(frozen=True)
class Trip:
    """What goes to a device: some artifacts of a bundle, each with how its target runs it there.

    runs: none where a benchmark tool of the user's own does it, and then `tools` has one an artifact.
    place: the device as the user named it.
    """

    bundle: Bundle
    device: Device
    artifacts: tuple[Artifact, ...]
    runs: tuple[DeviceRun, ...]
    options: ProfileOptions
    place: str
    tools: tuple[DeviceTool, ...] = ()

    @property
    def warm_ups(self) -> int:
        """Runs before the timed ones: the user's count, or a tool's that heeds none."""
        fixed = [tool.warm_ups for tool in self.tools if tool.warm_ups is not None]
        return max(fixed, default=self.options.warm_up)

    @property
    def tool(self) -> Path:
        """The benchmark tool's file here; only a visit without Python asks for it."""
        if self.options.tool is None:
            raise UsageError("no benchmark tool is named", fix="add --tool FILE")
        return self.options.tool


def describe_job(trip: Trip) -> dict[str, Any]:
    """The runner's job: how long to measure, for each worker its files and inputs, and commands to run."""
    options = trip.options
    samples = {row["name"]: row["golden"]["samples"] for row in trip.bundle.manifest["components"]}
    return {
        "schema": SCHEMA,
        "bundle": trip.bundle.digest,
        "workers": [
            {
                "index": index,
                "component": artifact.component,
                "variant": artifact.variant,
                "runtime": run.runtime,
                "model": artifact.main,
                "threads": options.threads,
                "accelerator": options.accelerator,
                "samples": [sample["inputs"] for sample in samples[artifact.component]],
            }
            for index, (artifact, run) in enumerate(zip(trip.artifacts, trip.runs, strict=True))
            if run.runtime
        ],
        "commands": list(_commands(trip)),
        "warm_up": options.warm_up,
        "first_round": count_turns(options.earlier),
        "rounds": options.rounds,
        "runs": None if options.seconds else max(1, options.runs // options.rounds),
        "seconds": None if options.seconds is None else options.seconds / options.rounds,
        "soak_s": options.soak_s,
        "soak_round_s": 5.0,
        "sample_hz": options.sample_hz,
        "idle_s": options.idle_s,
        "quiet_s": options.patience_s,
        "keep": bool(options.keep),
        "power_mode": options.power_mode,
    }


def _commands(trip: Trip) -> Iterator[tuple[str, ...]]:
    """Each once, with how long to measure; one that narrows another down is in it already."""
    known = {command: run for run in trip.runs for command in run.commands}
    options = trip.options
    for command, run in known.items():
        if command[:-1] in known:
            continue
        fill = {"rounds": options.rounds, "seconds": turn_seconds(options), "soak": math.ceil(options.soak_s)}
        words = [*run.timing, *([run.soak] if options.soak_s and run.soak else [])]
        yield (*command, *(word.format(**fill) for word in words))


def turn_seconds(options: ProfileOptions) -> int:
    """Whole seconds of one artifact's turn, for tools that are told no shorter time."""
    return _TURN_S if options.seconds is None else max(1, math.ceil(options.seconds / options.rounds))


def list_files(trip: Trip) -> dict[str, Path]:
    """Name on the device -> file here, of everything the runner needs but the job itself.

    The installed edgekit's scripts take the place of a bundle's: nothing that a bundle brings is run.
    """
    folder, manifest = trip.bundle.folder, trip.bundle.manifest
    files = {f"{FOLDER}/{path.name}": path for path in sorted(SCRIPTS.glob("*.py"))}
    if any(run.commands for run in trip.runs):
        files |= {name: folder / name for name in (MANIFEST, *manifest["files"])}
    for artifact in trip.artifacts:
        files |= {name: folder / name for name in artifact.loaded}
    components = {artifact.component for artifact in trip.artifacts}
    for row in manifest["components"]:
        if row["name"] in components:
            names = [name for sample in row["golden"]["samples"] for name in sample["inputs"].values()]
            files |= {name: folder / name for name in names}
    for run in trip.runs:
        files |= {f"{FOLDER}/{name}" if run.runtime else name: path for name, path in run.files.items()}
    return files


def refuse_unrunnable(
    artifacts: Sequence[Artifact], runs: Sequence[DeviceRun], typed: frozenset[str]
) -> None:
    """CannotRunHere where there is nothing to run; UsageError for options that nobody would heed."""
    if typed & _NOT_THEIRS and any(run.commands for run in runs):
        names = ", ".join(sorted(typed & _NOT_THEIRS))
        raise UsageError(
            f"this target's own scripts do not heed {names}", fix="leave them out; --duration says how long"
        )
    if not artifacts:
        raise UsageError("no artifact is left to profile", fix="name other components or variants")
    for artifact, run in zip(artifacts, runs, strict=True):
        if not run.runtime and not run.commands:
            raise CannotRunHere(
                f"{artifact.main} has no device-side runner", fix="update the target's plugin"
            )


def refuse_unheeded(tools: Sequence[DeviceTool], typed: frozenset[str]) -> None:
    """UsageError for a count of warm-up runs that a tool does not heed."""
    fixed = next((tool for tool in tools if tool.warm_ups is not None), None)
    if fixed is not None and "warm_up" in typed:
        raise UsageError(f"{fixed.name} has a warm-up of its own", fix="leave --warmup out")


def write_job(job: Mapping[str, Any], path: Path) -> None:
    """The job as JSON."""
    path.write_text(json.dumps(job, indent=1, sort_keys=True) + "\n", encoding="utf-8")
