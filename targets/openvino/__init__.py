"""The target `openvino`: OpenVINO IR for Intel CPUs, GPUs and NPUs, from the one Q/DQ graph."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.profiles.loader import device_files
from edgekit.target import DeviceRun, Plan, Target, refuse_options, refuse_unsafe_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact, Component, Device, Gap
    from edgekit.target import Job, Session


class OpenVINO(Target):
    """OpenVINO on Intel hardware; the host's own CPU is one of its devices."""

    name = "openvino"
    summary = "OpenVINO: IR with int8 kernels for Intel CPUs, GPUs and NPUs"

    def missing(self) -> str | None:
        return None if find_spec("openvino") else 'pip install "openvino>=2026.1"'

    def tools(self) -> tuple[str, ...]:
        return ("openvino",)

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        from edgekit.targets.openvino.operators import ops_to_expand
        from edgekit.targets.openvino.weight_forms import WEIGHT_FORMS

        del components
        refuse_options(self.name, job)
        return Plan(
            max_opset=None,
            expand=ops_to_expand(),
            # Its kernels take in the activation before they round (PP-OCR: 20 to 29 % less CPU a run).
            conv_output="float",
            gemm_output="int8",
            no_wide="edgekit writes none for OpenVINO",
            default_float="fp16",
            baselines=("fp32", "fp16"),
            weights=WEIGHT_FORMS,
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        from edgekit.targets.openvino.operators import check_component

        refuse_options(self.name, job)
        return [gap for component in components for gap in check_component(component, self.name)]

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.openvino.build_component import build_component

        refuse_options(self.name, job)
        refuse_unsafe_names(components)
        return [build_component(component, job, out) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        from edgekit.targets.openvino.session import OpenVinoSession

        return OpenVinoSession(folder / artifact.main)

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.openvino.snippets import write_snippets

        return write_snippets(artifacts, job, out)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """The runner loads the IR with the device's own openvino wheel, on its CPU."""
        del artifact, device
        script = Path(__file__).parent / "device" / "run_openvino.py"
        return DeviceRun({script.name: script}, runtime=script.stem, needs="pip install openvino numpy")
