"""Target `tensorrt`: explicit Q/DQ ONNX for Jetson, with the scripts that build and prove engines there."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit.errors import TargetError, UsageError
from edgekit.profiles.loader import device_files
from edgekit.target import Plan, Target

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._results import Measurement
    from edgekit._values import Artifact, Component, Device, Gap
    from edgekit.target import DeviceRun, Job, Session

OPTIONS = {"rtx": ("off", "on")}


class TensorRT(Target):
    """ONNX in, ONNX out: an engine belongs to one GPU and one TensorRT, so the device builds it."""

    name = "tensorrt"
    summary = "Jetson and other NVIDIA GPUs: explicit Q/DQ ONNX and an on-device engine builder"

    def missing(self) -> str | None:
        """Nothing: ONNX is written with edgekit's own dependencies, engines are built on the device."""
        return None

    def tools(self) -> tuple[str, ...]:
        """TensorRT itself too: where it is installed beside a GPU, its engine is what is proven."""
        return ("tensorrt", "tensorrt-rtx")

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        from edgekit.targets.tensorrt.expansion import ops_to_expand
        from edgekit.targets.tensorrt.op_table import table_for
        from edgekit.targets.tensorrt.weight_forms import weight_forms

        table = table_for(tensorrt_version(job.device))
        return Plan(
            max_opset=table.max_opset,
            expand=ops_to_expand(components, table),
            # An int8 convolution may leave float: the activation behind it is fused, and rounds once.
            conv_output="float",
            no_wide="TensorRT has no such type",
            default_float="fp16",
            baselines=("fp32", "fp16"),
            weights=weight_forms(table),
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        """Lint of every component; with option `rtx=on` the RTX parser's verdict beside it, as warnings."""
        from edgekit.targets.tensorrt.lint import lint

        version = tensorrt_version(job.device)
        gaps = [gap for component in components for gap in lint(component, job, version=version)]
        if _option(job, "rtx") == "on":
            from edgekit.targets.tensorrt.rtx_parser import rtx_gaps

            gaps += [gap for component in components for gap in rtx_gaps(component)]
        return gaps

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.tensorrt.build import build_component

        return [build_component(component, job, out) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        """The exact file in ONNX Runtime; where a full TensorRT and a GPU are present, its engine."""
        from edgekit.targets.tensorrt.session import open_session

        return open_session(artifact, folder)

    def runs_as_written(self, artifact: Artifact) -> bool:
        from edgekit.targets.tensorrt.host import ENGINE_WORDS

        return not artifact.proves.startswith(ENGINE_WORDS)

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.tensorrt.device_folder import write_device_folder

        return write_device_folder(artifacts, job, out)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:  # noqa: ARG002 - the contract's
        from edgekit.targets.tensorrt.device_folder import runner

        return runner(artifact)

    def read(self, output: bytes) -> list[Measurement]:
        from edgekit._device_output import read_measurements

        return read_measurements(output, fix="run device/run.sh there and see its messages")


def tensorrt_version(device: Device) -> str:
    """The TensorRT that the device's software installs, MAJOR.MINOR."""
    tools = device.versions[device.software]
    if "tensorrt" not in tools:
        raise TargetError(
            f"device '{device.name}': software '{device.software}' names no tensorrt",
            fix=f'add tensorrt = "MAJOR.MINOR" to versions."{device.software}"',
        )
    return tools["tensorrt"]


def _option(job: Job, name: str) -> str:
    """The value of one option, the first allowed one by default; refuses what is unknown."""
    for key, value in job.options.items():
        if key not in OPTIONS:
            raise UsageError(f"target 'tensorrt' has no option '{key}'", fix=f"it has: {', '.join(OPTIONS)}")
        if value not in OPTIONS[key]:
            raise UsageError(
                f"option '{key}' cannot be '{value}'", fix=f"use one of: {', '.join(OPTIONS[key])}"
            )
    return job.options.get(name, OPTIONS[name][0])
