"""The target `ethos-u`: LiteRT int8 files compiled by Arm's Vela for Ethos-U NPUs in microcontrollers."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgekit._schemes import INT16X8
from edgekit._values import Gap
from edgekit.errors import CannotRunHere
from edgekit.profiles.loader import device_files
from edgekit.target import DeviceRun, Plan, Target, refuse_unsafe_names
from edgekit.targets.litert import LiteRT
from edgekit.targets.litert.ethos_u.options import read_options

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._results import Measurement
    from edgekit._values import Artifact, Component, Device
    from edgekit.target import Job, Session

_WAY_OUT = "give --samples and --precision int8"


class EthosU(Target):
    """Arm Ethos-U55, U65 and U85: what Vela puts on the NPU, what it leaves to the CPU, and its estimates."""

    name = "ethos-u"
    summary = "Arm Ethos-U: .tflite compiled by Vela, with its SRAM, flash and cycle estimates"

    def missing(self) -> str | None:
        vela = None if find_spec("ethosu") else 'pip install "ethos-u-vela>=5.2"'
        return LiteRT().missing() or vela

    def tools(self) -> tuple[str, ...]:
        return ("ethos-u-vela", *LiteRT().tools())

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        from edgekit.targets.litert.expansion import ops_to_expand

        del components
        read_options(job)
        return Plan(max_opset=None, expand=ops_to_expand(), bias="int32", gemm_output="all", wide=INT16X8)

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        """What LiteRT cannot hold, and every precision but int8; what Vela takes shows when it compiles."""
        from edgekit.targets.litert.lower import lower_component

        options = read_options(job)
        lowered = [(component, lower_component(component)) for component in components]
        gaps = [gap for _, one in lowered for gap in one.gaps]
        if options.fallback == "refuse":
            from edgekit.targets.litert.ethos_u.fallbacks import list_unknown

            gaps += [gap for component, one in lowered for gap in list_unknown(component, one)]
        if job.precision == "int8":
            return gaps
        rule = f"an Ethos-U computes integers, and {job.precision} would run on the CPU beside it"
        return [*gaps, Gap(self.name, "", "", job.precision, rule, _WAY_OUT)]

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.litert.ethos_u.build_component import build_component

        options = read_options(job)
        refuse_unsafe_names(components)
        return [build_component(component, job, out, options=options) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        """The .tflite that Vela compiled, on LiteRT's CPU kernels: `artifact.proves` says so."""
        from edgekit.targets.litert.ethos_u.build_component import source_file
        from edgekit.targets.litert.session import LiteRTSession

        path = folder / source_file(artifact)
        return LiteRTSession(path, layouts=artifact.layouts, tensors=artifact.tensors)

    def estimates(self, artifact: Artifact, folder: Path) -> list[Measurement]:
        """Latency (ms, the NPU's part) and memory (B, SRAM), by Vela."""
        from edgekit.targets.litert.ethos_u.build_component import read_estimates

        return read_estimates(artifact, folder)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        del artifact
        raise CannotRunHere(
            f"{device.title} runs firmware, and edgekit has no runner for it",
            fix="link the compiled .tflite into a TensorFlow Lite Micro program and time it there",
        )
