"""The contract between edgekit and a toolchain: what a target plugin must and may say."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edgekit._schemes import PORTABLE, BiasForm, Compute, ConvOutput, GemmOutput, Scheme, WeightForm
from edgekit.errors import CannotRunHere, GapError, ModelError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from edgekit._device_tool import DeviceTool
    from edgekit._results import Measurement
    from edgekit._schemes import Scales
    from edgekit._values import Artifact, Component, Device, DimRange, Gap, Precision

_SAFE_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Job:
    """What one build is for.

    `precision` is the variant to build; the components given beside the job are already in that
    form (Q/DQ inserted for int8). `scales` are per component, empty for float variants.
    `shapes` holds the dims a user gave as ranges or sizes, per input of the component that is built;
    `component_shapes` those of every component, for `extras`. `options` are the target's own. `inner`
    names the tensors inside the component that a device shall be able to give, as `Session.run` its taps.
    """

    device: Device
    precision: Precision
    scales: Mapping[str, Scales] = field(default_factory=dict)
    shapes: Mapping[str, tuple[DimRange, ...]] = field(default_factory=dict)
    options: Mapping[str, str] = field(default_factory=dict)
    component_shapes: Mapping[str, Mapping[str, tuple[DimRange, ...]]] = field(default_factory=dict)
    inner: tuple[str, ...] = ()

    def shapes_of(self, component: str) -> Mapping[str, tuple[DimRange, ...]]:
        """The dims given for one component's inputs, whether the job is about it alone or about all."""
        return self.component_shapes.get(component, self.shapes)


@dataclass(frozen=True)
class Plan:
    """What a target needs before calibration and Q/DQ insertion.

    max_opset: highest default-domain opset the device's software reads; None: no op table ("unknown").
    expand: ops (function-bodied in ONNX) the target wants expanded into primitives.
    scheme/bias/conv_output/gemm_output/compute: the form of its INT8 graph (QdqForm). `portable` must always
    be accepted; `native` is what the target does best from the same record.
    second_scheme, second_conv_output: what is tried where the samples show the first to be far from fp32.
    weights: how it holds integer weights beside float data (w8, w4); empty: it does not, and the way out for
    a form that is missing is no_weights.
    float_front_end: whether what only logarithms read may stay float where the samples speak for it.
    wide: 16-bit activations that a search may give to single nodes of an int8 graph; None, because no_wide.
    default_float: what a user gets who brings no samples.
    baselines: float variants built beside an INT8 artifact.
    int8_options: options of the target that its INT8 variant alone heeds.
    no_portable: why the job's options and the portable scheme contradict each other; "" where they do not.
    """

    max_opset: int | None
    expand: frozenset[str] = frozenset()
    scheme: Scheme = PORTABLE
    second_scheme: Scheme = PORTABLE
    bias: BiasForm = "float"
    conv_output: ConvOutput = "int8"
    second_conv_output: ConvOutput | None = None
    gemm_output: GemmOutput = "float"
    compute: Compute = "fp32"
    float_front_end: bool = True
    wide: Scheme | None = None
    no_wide: str = "the target has none"
    default_float: Precision = "fp32"
    baselines: tuple[Precision, ...] = ()
    weights: tuple[WeightForm, ...] = ()
    no_weights: str = "use --precision fp16 or int8, or another target"
    int8_options: frozenset[str] = frozenset()
    no_portable: str = ""


@dataclass(frozen=True)
class DeviceRun:
    """How one artifact is run on its device, beside the bundle's own files.

    files: the installed edgekit's scripts, by their names relative to the bundle's folder there.
    runtime: a Python module among `files` with `open_model(path, threads)`, which edgekit's own
    runner loads and times; "" where `commands` (argv, never a shell string) do it all and `read`
    understands what they print. needs: the command that installs the runtime on the device.
    timing, soak: words for such commands, with {rounds}, {seconds} of each turn, and {soak} seconds to fill.
    """

    files: Mapping[str, Path]
    commands: tuple[tuple[str, ...], ...] = ()
    runtime: str = ""
    needs: str = ""
    timing: tuple[str, ...] = ()
    soak: str = ""


def refuse_unsafe_names(components: Sequence[Component]) -> None:
    """ModelError for a component whose name can't be a file's; every `build` asks before it writes."""
    for component in components:
        if not _SAFE_NAME.fullmatch(component.name):
            raise ModelError(
                f"component name {component.name!r} cannot be a file name",
                fix="name the component with letters, digits, '.', '_' and '-'",
            )


def refuse_options(target: str, job: Job) -> None:
    """UsageError for any option, for a target that has none."""
    for option in job.options:
        raise UsageError(f"target '{target}' has no option '{option}'", fix="leave the option out")


def refuse_fallbacks(gaps: Sequence[Gap]) -> None:
    """GapError where operators of a target stay on the CPU, and its option `fallback` refuses that."""
    if gaps:
        raise GapError(
            f"{len(gaps)} operator(s) would run on the CPU, the first is {gaps[0]}",
            fix=f"follow each one's way out, or leave out --no-fallback ({gaps[0].target}.fallback=refuse)",
            gaps=gaps,
        )


class Session(Protocol):
    """One loaded artifact. `run` may be called any number of times."""

    def run(self, feeds: Mapping[str, np.ndarray], taps: Sequence[str] = ()) -> dict[str, np.ndarray]:
        """Outputs by source name, plus each tapped intermediate that the runtime can give."""
        ...


class Target(ABC):
    """One toolchain. api 1; later methods come with defaults, so that old plugins keep working."""

    api = 1
    name: str
    summary: str = ""

    @abstractmethod
    def missing(self) -> str | None:
        """The install command of what this target lacks here, or None. Imports no toolchain."""

    def tools(self) -> tuple[str, ...]:
        """Distributions whose installed versions its artifacts and proofs follow from, beside edgekit's own.

        A bundle names them, and is made again where one of them changed.
        """
        return ()

    @abstractmethod
    def devices(self) -> list[Path]:
        """Device TOMLs that this target brings, one called `generic-<name>` among them."""

    @abstractmethod
    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        """What this target needs of the graph, before any work."""

    @abstractmethod
    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        """Every node the target cannot hold; needs no toolchain and changes nothing."""

    @abstractmethod
    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        """Write the artifacts of one variant into `out`; the components stay unchanged."""

    @abstractmethod
    def open(self, artifact: Artifact, folder: Path) -> Session:
        """Load a built artifact on this host; raises CannotRunHere, with the reason."""

    def runs_as_written(self, artifact: Artifact) -> bool:
        """Whether `open` gives the ONNX file in ONNX Runtime, node by node, as the Q/DQ reference is run."""
        del artifact
        return False

    def open_others(self, artifact: Artifact, folder: Path) -> Mapping[str, Session]:
        """The artifact on other kernels that this host has, by their name: each is proven too."""
        del artifact, folder
        return {}

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        """Write what the bundle carries beside the artifacts (snippets, device scripts, configs).

        Returns the paths written, relative to `out`; deterministic for the same inputs.
        """
        return []

    def estimates(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """What the toolchain itself foretells of a built artifact, read from its files: predicted figures."""
        return []

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """What a probe copies and runs on the device."""
        raise CannotRunHere(
            f"target '{self.name}' has no device-side runner", fix="update the target's plugin"
        )

    def device_tool(self, artifact: Artifact, folder: Path, accelerator: str) -> DeviceTool:
        """The artifact in its runtime's own benchmark tool, for a device without Python.

        accelerator: what the user named, "" for the tool's own choice.
        """
        raise CannotRunHere(
            f"target '{self.name}' knows no benchmark tool", fix="leave --tool out: the device needs Python"
        )

    def read(self, output: bytes) -> list[Measurement]:
        """Parse what a device run printed."""
        return []
