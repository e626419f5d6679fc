"""Profiles one bundle on one device: copy, run, listen, compare, tidy up."""

from __future__ import annotations

import tempfile
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._bundle import open_bundle
from edgekit._cache import tool_versions
from edgekit._profile.energy import find_total, measure_energy
from edgekit._profile.figures import measure_artifact, timed_ms
from edgekit._profile.heard import Heard
from edgekit._profile.job import (
    FOLDER,
    choose_artifacts,
    describe_job,
    list_files,
    refuse_unrunnable,
    write_job,
)
from edgekit._profile.judge import compare_variants
from edgekit._profile.parity import compare_outputs
from edgekit._profile.values import ArtifactProfile, LayerTime, Profile, Trace
from edgekit.errors import TargetError
from edgekit.profiles.probes.open_transport import open_transport
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._bundle import Bundle
    from edgekit._profile.values import ProfileOptions
    from edgekit._values import Artifact, Device, OutputParity, Progress
    from edgekit.profiles.probes.transport import Transport
    from edgekit.target import DeviceRun, Target


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
    with open_bundle(path) as bundle:
        target = targets.get(bundle.target)
        if target is None:
            raise TargetError(
                f"bundle is for target '{bundle.target}', which is not installed", fix="install its plugin"
            )
        artifacts = choose_artifacts(bundle, options)
        device = _device_of(bundle, target)
        runs = [target.device_run(artifact, device) for artifact in artifacts]
        refuse_unrunnable(artifacts, runs)
        progress(f"reach {place}", 0, None)
        with _opened(transport):
            return _Visit(bundle, artifacts, runs, options, transport).run(progress)


@contextmanager
def _opened(transport: Transport) -> Iterator[None]:
    transport.open()
    try:
        yield
    finally:
        transport.close()


def _device_of(bundle: Bundle, target: Target) -> Device:
    """The device that the bundle was made for, as its TOML says today."""
    from edgekit.profiles.loader import load_device

    wanted = bundle.manifest["device"]
    for path in target.devices():
        device = load_device(path)
        if device.name == wanted["name"]:
            return load_device(path, wanted["software"])
    raise TargetError(
        f"device '{wanted['name']}' of the bundle is not known here",
        fix="update edgekit, or convert again for a device that `edgekit devices` lists",
    )


class _Visit:
    """One run on one opened device."""

    def __init__(
        self,
        bundle: Bundle,
        artifacts: Sequence[Artifact],
        runs: Sequence[DeviceRun],
        options: ProfileOptions,
        transport: Transport,
    ) -> None:
        self.bundle = bundle
        self.artifacts = artifacts
        self.runs = runs
        self.options = options
        self.transport = transport
        self.started = datetime.now(UTC).isoformat(timespec="seconds")

    def run(self, progress: Progress) -> Profile:
        """Copy, listen to the end or the break, compare what was computed."""
        with tempfile.TemporaryDirectory(prefix="edgekit-") as scratch:
            self._send(Path(scratch), progress)
            heard = Heard.of(len(self.artifacts))
            self._listen(heard, progress)
            progress("compare with the golden outputs", 0, None)
            parities = self._compare(heard, Path(scratch))
        return self._describe(heard, parities)

    def _send(self, scratch: Path, progress: Progress) -> None:
        progress("copy files", 0, None)
        job = scratch / "job.json"
        write_job(describe_job(self.bundle, self.artifacts, self.runs, self.options), job)
        files = list_files(self.bundle, self.artifacts, self.runs)
        self.transport.push({**files, f"{FOLDER}/job.json": job})

    def _listen(self, heard: Heard, progress: Progress) -> None:
        """Take events until the end; what breaks off is told in `heard.problem`."""
        command = (self.options.python or "python3", "-B", f"{FOLDER}/runner.py", f"{FOLDER}/job.json")
        running = self.transport.start(command)
        expected = len(self.artifacts) * self.options.rounds
        try:
            while (line := running.read_line(self._patience)) is not None:
                if heard.take(line) == "round":
                    done = sum(len(worker.rounds) for worker in heard.workers.values())
                    progress("measure", min(done, expected), expected)
            code, errors = running.finish()
            if not heard.done and not heard.problem:
                last = errors.strip().splitlines()[-1:] or ["it said nothing"]
                heard.problem = f"the runner ended early (status {code}): {last[0][:300]}"
        except DeviceError as error:
            heard.problem = str(error)
        finally:
            running.stop()
        if not heard.facts:
            raise DeviceError(
                f"{self.transport.label}: {heard.problem}",
                fix=f"see that python3 runs there, with: {self.runs[0].needs}",
            )

    @property
    def _patience(self) -> float:
        """The longest silence: one round, or the device's own patience."""
        return self.options.patience_s + (self.options.seconds or 0.0)

    def _compare(self, heard: Heard, scratch: Path) -> list[tuple[OutputParity, ...]]:
        """Parity of each artifact's outputs; a file that does not come is the run's problem."""
        found: list[tuple[OutputParity, ...]] = []
        for index, artifact in enumerate(self.artifacts):
            golden = self.bundle.golden(artifact.component)
            files = heard.workers[index].outputs
            try:
                found.append(compare_outputs(self.transport, files, golden, scratch))
            except DeviceError as error:
                heard.problem = heard.problem or str(error)
                found.append(())
        return found

    def _describe(self, heard: Heard, parities: Sequence[tuple[OutputParity, ...]]) -> Profile:
        device = self.bundle.manifest["device"]
        start = heard.idle[0] if heard.idle else 0.0
        profile = Profile(
            bundle=self.bundle.digest,
            target=self.bundle.target,
            device=str(device["name"]),
            place=self.transport.label,
            facts=heard.facts,
            matches=None,
            started=self.started,
            conditions=self._conditions(),
            tools=tool_versions(),
            artifacts=tuple(
                _describe_artifact(artifact, heard, index, parity)
                for index, (artifact, parity) in enumerate(zip(self.artifacts, parities, strict=True))
            ),
            traces=_traces(heard, start),
            problem=heard.problem,
            meters=heard.meters,
        )
        return replace(profile, notes=(*_meter_note(heard), *compare_variants(profile)))

    def _conditions(self) -> dict[str, str]:
        options = self.options
        length = f"{options.runs} runs" if options.seconds is None else f"{options.seconds:g} s"
        return {
            "length": f"{length} of each artifact in {options.rounds} turns",
            "warm_up": f"{options.warm_up} runs",
            "threads": str(options.threads),
            "soak": f"{options.soak_s:g} s" if options.soak_s else "none",
        }


def _describe_artifact(
    artifact: Artifact, heard: Heard, index: int, parity: tuple[OutputParity, ...]
) -> ArtifactProfile:
    worker = heard.workers[index]
    place = f"{artifact.component}/{artifact.variant}"
    return ArtifactProfile(
        component=artifact.component,
        variant=artifact.variant,
        runtime=worker.runtime,
        latencies_ms=timed_ms(worker),
        measurements=(*measure_artifact(place, worker), *measure_energy(place, index, heard)),
        parity=parity,
        layers=tuple(LayerTime(*row) for row in worker.layers),
        layers_note=worker.layers_note,
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


def _meter_note(heard: Heard) -> tuple[str, ...]:
    """Power is never modelled under a measured heading: where no meter is, that is said."""
    return () if find_total(heard) else ("power and energy: not measured, the device shows no power meter",)
