"""What one profile saw on one device: figures, traces, and under which conditions."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from edgekit._device_tool import LayerTime
    from edgekit._results import Measurement, OutputParity
    from edgekit._values import Placement


@dataclass(frozen=True)
class ProfileOptions:
    """How long and how to measure.

    runs: timed runs of each artifact, in `rounds` turns; seconds: the least time instead, where given.
    soak_s: how long the first artifact runs on after that. threads: of the runtime.
    sample_hz: of the sensors. python: the device's Python that has the runtime ("" for python3).
    tool: a benchmark tool's file here, for a device without Python; accelerator: what it or the
    runtime uses, "" for its default.
    typed: the options that the user named.
    power_csv: the log of a power meter of the user's own. patience_s: longest silence of the device.
    keep: a folder on the device to leave everything in. earlier: the run that broke off, to go on with.
    """

    components: tuple[str, ...] = ()
    variants: tuple[str, ...] = ()
    runs: int = 100
    rounds: int = 5
    warm_up: int = 10
    seconds: float | None = None
    soak_s: float = 0.0
    threads: int = 1
    sample_hz: float = 10.0
    idle_s: float = 2.0
    patience_s: float = 120.0
    power_mode: str | None = None
    power_csv: Path | None = None
    python: str = ""
    tool: Path | None = None
    accelerator: str = ""
    typed: frozenset[str] = frozenset()
    keep: str = ""
    earlier: Profile | None = None


@dataclass(frozen=True)
class Trace:
    """One quantity over time: seconds since the run's start, and values in `unit`."""

    name: str
    unit: str
    times_s: tuple[float, ...]
    values: tuple[float, ...]


@dataclass(frozen=True)
class ArtifactProfile:
    """What was seen of one artifact.

    latencies_ms: every timed run, in order; turns: how many of them each turn had.
    parity: its outputs on the device against fp32's golden ones.
    layers_note: why there are no layers, where there are none. placements: on which units it runs.
    told: of each turn what a benchmark tool told (count, and ms by name), which gives no single runs.
    """

    component: str
    variant: str
    runtime: str
    latencies_ms: tuple[float, ...]
    measurements: tuple[Measurement, ...]
    parity: tuple[OutputParity, ...] = ()
    layers: tuple[LayerTime, ...] = ()
    layers_note: str = ""
    turns: tuple[int, ...] = ()
    placements: tuple[Placement, ...] = ()
    told: tuple[Mapping[str, float], ...] = ()


@dataclass(frozen=True)
class Profile:
    """One run of `edgekit profile`. `problem` says why it is not complete; "" where it is.

    device: what the bundle was made for. place: where it ran. facts: what that machine says it is.
    matches: whether that machine is the bundle's device; None where nobody can tell.
    """

    bundle: str
    target: str
    device: str
    place: str
    facts: Mapping[str, str]
    matches: bool | None
    started: str
    conditions: Mapping[str, str]
    tools: Mapping[str, str]
    artifacts: tuple[ArtifactProfile, ...]
    traces: tuple[Trace, ...] = ()
    notes: tuple[str, ...] = ()
    problem: str = ""
    meters: tuple[str, ...] = field(default=())

    @property
    def complete(self) -> bool:
        return not self.problem

    @property
    def measurements(self) -> tuple[Measurement, ...]:
        return tuple(row for artifact in self.artifacts for row in artifact.measurements)
