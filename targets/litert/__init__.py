"""The target `litert`: .tflite files for LiteRT (TensorFlow Lite) on Android and ARM Linux."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._schemes import INT16X8
from edgekit._values import Gap
from edgekit.profiles.loader import device_files
from edgekit.target import DeviceRun, Plan, Target, refuse_unsafe_names
from edgekit.targets.litert.options import read_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._device_tool import DeviceTool
    from edgekit._values import Artifact, Component, Device
    from edgekit.target import Job, Session

_PACKAGES = {"ai_edge_litert": "ai-edge-litert>=2.3", "flatbuffers": "flatbuffers>=25"}
_SLOW = (
    "LiteRT's CPU kernels for them took 20 to 40 times as long as its float ones where they were timed; "
    "--option litert.activations=int16x8 allows them, for an NPU"
)


class LiteRT(Target):
    """LiteRT on Android and ARM Linux: edgekit's own ONNX (and Q/DQ) to TFLite writer."""

    name = "litert"
    summary = "LiteRT (TensorFlow Lite): .tflite files with true int8 operators, Kotlin"

    def missing(self) -> str | None:
        lacking = [f'"{wheel}"' for package, wheel in _PACKAGES.items() if find_spec(package) is None]
        return f"pip install {' '.join(lacking)}" if lacking else None

    def tools(self) -> tuple[str, ...]:
        """LiteRT's own wheel and each NPU vendor's SDK for it."""
        from edgekit.targets.litert.compile_npu import load_sdks

        return ("ai-edge-litert", "flatbuffers", *(row["package"] for row in load_sdks().values()))

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        from edgekit.targets.litert.expansion import ops_to_expand
        from edgekit.targets.litert.weight_forms import WEIGHT_FORMS

        del components
        options = read_options(job)
        _find_compiler(options.aot)
        return Plan(
            max_opset=None,
            expand=ops_to_expand(),
            bias="int32",
            gemm_output="int8",
            wide=INT16X8 if options.activations == "int16x8" else None,
            no_wide=_SLOW,
            int8_options=frozenset({"activations"}),
            default_float="fp32",
            baselines=("fp32",),
            weights=WEIGHT_FORMS,
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        """Lowers every component without writing it; needs no toolchain."""
        from edgekit.targets.litert.lower import lower_component

        read_options(job)
        gaps = [gap for component in components for gap in lower_component(component).gaps]
        return gaps + _device_warnings(job)

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.litert.build_component import build_component

        read_options(job)
        refuse_unsafe_names(components)
        return [build_component(component, job, out) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        from edgekit.targets.litert.session import LiteRTSession

        return LiteRTSession(folder / artifact.main, layouts=artifact.layouts, tensors=artifact.tensors)

    def open_others(self, artifact: Artifact, folder: Path) -> dict[str, Session]:
        """The file on LiteRT's plain reference kernels, where they can hold it in reasonable time."""
        from edgekit.targets.litert.reference_kernels import NAME, open_reference

        session = open_reference(artifact, folder)
        return {} if isinstance(session, str) else {NAME: session}

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.litert.snippets import write_snippets

        return write_snippets(artifacts, job, out)

    def device_tool(self, artifact: Artifact, folder: Path, accelerator: str) -> DeviceTool:
        """LiteRT's benchmark_model, which runs on phones as they are."""
        from edgekit.targets.litert.benchmark_model import BenchmarkModel
        from edgekit.targets.litert.session import LiteRTSession

        session = LiteRTSession(folder / artifact.main)
        return BenchmarkModel(session.describe_inputs(), session.describe_outputs(), accelerator or "cpu")

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """The runner loads the .tflite file with the device's own ai-edge-litert wheel (Linux only)."""
        del artifact, device
        script = Path(__file__).parent / "device" / "run_litert.py"
        return DeviceRun({script.name: script}, runtime=script.stem, needs="pip install ai-edge-litert numpy")


def _find_compiler(chip: str) -> None:
    """Ask for the vendor's SDK before any work, where the file is to be compiled for a chip."""
    if chip:
        from edgekit.targets.litert.compile_npu import find_chip

        find_chip(chip)


def _device_warnings(job: Job) -> list[Gap]:
    """What the device's own facts warn of: a name that is kept for old scripts only."""
    rule = job.device.facts.get("deprecated")
    if rule is None:
        return []
    return [Gap("litert", "", "", "device", rule, "use --target android or your phone", severity="warning")]
