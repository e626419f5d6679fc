"""The target `ort-mobile`: .ort files for ONNX Runtime on phones, and what an app needs beside them."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._schemes import NATIVE_U8
from edgekit.profiles.loader import device_files
from edgekit.target import DeviceRun, Plan, Target, refuse_unsafe_names

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._values import Artifact, Component, Device, Gap
    from edgekit.target import Job, Session

_PROVES = (
    "this host ran the .ort file itself on onnxruntime's CPU provider: it loads, and its graph, weights and "
    "integer kernels give these numbers. No ARM CPU was used, and NNAPI, Core ML and latency are not shown"
)


class OrtMobile(Target):
    """ONNX Runtime on Android, iOS and ARM Linux, CPU provider first."""

    name = "ort-mobile"
    summary = "ONNX Runtime Mobile: .ort files with integer kernels, reduced-build lists, Kotlin and Swift"

    def missing(self) -> str | None:
        return None if find_spec("onnxruntime") else 'pip install "onnxruntime>=1.23"'

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        del components
        from edgekit.targets.ort_mobile.check_kernels import newest_opset
        from edgekit.targets.ort_mobile.options import read_options
        from edgekit.targets.ort_mobile.weight_forms import WEIGHT_FORMS

        read_options(job)
        return Plan(
            max_opset=newest_opset(),
            scheme=NATIVE_U8,
            bias="int32",
            no_wide="onnxruntime has no integer kernels for them, and computes their Q/DQ in float",
            default_float="fp32",
            baselines=("fp32",),
            weights=WEIGHT_FORMS,
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        from edgekit.targets.ort_mobile.check_model import check_model
        from edgekit.targets.ort_mobile.options import read_options

        read_options(job)
        return [gap for component in components for gap in check_model(component, job, self.name)]

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.ort_mobile.build_component import build_component
        from edgekit.targets.ort_mobile.options import read_options

        read_options(job)
        refuse_unsafe_names(components)
        return [build_component(component, job, out, proves=_PROVES) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        from edgekit.targets.ort_mobile.inner_values import find_inner_file
        from edgekit.targets.ort_mobile.runtime_session import OrtSession

        inner = find_inner_file(artifact)
        return OrtSession(folder / artifact.main, None if inner is None else folder / inner)

    def open_others(self, artifact: Artifact, folder: Path) -> dict[str, Session]:
        """The file that gives inner values, which has to give the artifact's outputs as well."""
        from edgekit.targets.ort_mobile.inner_values import find_inner_file
        from edgekit.targets.ort_mobile.runtime_session import OrtSession

        inner = find_inner_file(artifact)
        return {} if inner is None else {inner: OrtSession(folder / inner)}

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.ort_mobile.write_snippets import write_snippets

        return write_snippets(artifacts, job, out)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """The runner loads the .ort file with the device's own onnxruntime wheel (Linux only)."""
        del artifact, device
        script = Path(__file__).parent / "device" / "run_onnxruntime.py"
        return DeviceRun({script.name: script}, runtime=script.stem, needs="pip install onnxruntime numpy")
