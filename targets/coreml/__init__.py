"""The target `coreml`: .mlpackage files for Core ML on iPhone, iPad and Mac."""

from __future__ import annotations

from importlib.util import find_spec
from typing import TYPE_CHECKING

from edgekit.profiles.loader import device_files
from edgekit.target import Plan, Target, refuse_unsafe_names

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._results import Measurement
    from edgekit._values import Artifact, Component, Device, Gap
    from edgekit.target import DeviceRun, Job, Session

_PACKAGE = "coremltools>=9.0"


class CoreML(Target):
    """Core ML on Apple's devices: edgekit's own ONNX (and Q/DQ) to MIL frontend, written by coremltools."""

    name = "coreml"
    summary = "Core ML: .mlpackage programs in fp16, fp32 and W8A8, built without a Mac"

    def missing(self) -> str | None:
        return None if find_spec("coremltools") else f'pip install "{_PACKAGE}"'

    def tools(self) -> tuple[str, ...]:
        return ("coremltools",)

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        from edgekit.targets.coreml.deployment import level_of
        from edgekit.targets.coreml.expansion import ops_to_expand
        from edgekit.targets.coreml.options import read_options
        from edgekit.targets.coreml.weight_forms import newer_for_weights, weight_forms

        del components
        return Plan(
            max_opset=None,
            expand=ops_to_expand(),
            bias="float",
            # As coremltools' own quantizer of activations has it: what Apple shows to run in int8.
            conv_output="int8",
            second_conv_output="float",
            compute=read_options(job).compute,
            no_wide="Core ML has no such type",
            default_float="fp16",
            baselines=("fp16",),
            weights=weight_forms(level_of(job)),
            no_weights=newer_for_weights(),
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        """Lowers every component without writing it; needs no toolchain."""
        from edgekit.targets.coreml.check_component import check_component

        return [gap for component in components for gap in check_component(component, job)]

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.coreml.build_component import build_component

        refuse_unsafe_names(components)
        return [build_component(component, job, out) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        from edgekit.targets.coreml.session import CoreMLSession

        return CoreMLSession(folder / artifact.main, artifact.tensors)

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.coreml.mac_side import write_mac_side

        return write_mac_side(artifacts, job, out)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """The runner loads the package in Core ML itself, which a Mac has; an iPhone can't be reached so."""
        from edgekit.targets.coreml.mac_side import core_ml_run

        del artifact, device
        return core_ml_run()

    def read(self, output: bytes) -> list[Measurement]:
        """What the bundle's mac/measure.py printed."""
        from edgekit._device_output import read_measurements

        return read_measurements(output, fix="run mac/measure.py on a Mac and see its messages")
