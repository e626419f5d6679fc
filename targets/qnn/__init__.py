"""The target `qnn`: context binaries for the Hexagon NPU (HTP) of Snapdragon chips."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._schemes import NATIVE_U8_S4, NATIVE_U8_S8, NATIVE_U16_S4, NATIVE_U16_S8
from edgekit.profiles.loader import device_files
from edgekit.target import DeviceRun, Plan, Target, refuse_unsafe_names
from edgekit.targets.qnn.chips import chips_of
from edgekit.targets.qnn.library import explain_missing
from edgekit.targets.qnn.options import read_options

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit._device_tool import DeviceTool
    from edgekit._values import Artifact, Component, Device, Gap
    from edgekit.target import Job, Session
    from edgekit.targets.qnn.options import Options

# With 8- and with 16-bit activations, by qnn.weights.
_SCHEMES = {"int8": (NATIVE_U8_S8, NATIVE_U16_S8), "int4": (NATIVE_U8_S4, NATIVE_U16_S4)}


def _contradict_portable(options: Options) -> str:
    """Which option asks for what the portable scheme lacks; "" for none."""
    asked = {"weights": (options.weights, "int4"), "activation": (options.activation, "u16")}
    return next(
        (f"qnn.{name} asks for {value}" for name, (value, wide) in asked.items() if value == wide), ""
    )


class Qnn(Target):
    """Qualcomm's compiler behind ONNX Runtime's QNN provider; its x86 library executes what it compiled."""

    name = "qnn"
    summary = "Snapdragon NPU: context binaries compiled and executed here by Qualcomm's x86 library"

    def missing(self) -> str | None:
        return explain_missing()

    def tools(self) -> tuple[str, ...]:
        return ("onnxruntime-qnn",)

    def devices(self) -> list[Path]:
        return device_files(self.name)

    def plan(self, components: Sequence[Component], job: Job) -> Plan:
        del components
        options = read_options(job)
        has_float = all(chip.fp16 for chip in chips_of(job.device, options.chips))
        narrow, wide = _SCHEMES[options.weights]
        measures = options.activation == "auto" and options.weights == "int8"
        first = narrow if measures or options.activation == "u8" else wide
        fixed_by = f"activation={options.activation}" if options.activation != "auto" else "weights=int4"
        return Plan(
            max_opset=21,
            scheme=first,
            second_scheme=wide if measures else first,
            wide=wide if measures else None,
            no_wide=f"--option qnn.{fixed_by} fixes their width",
            bias="int32",
            gemm_output="all",
            float_front_end=has_float or options.fallback == "allow",
            default_float="fp16",
            baselines=("fp32",),
            int8_options=frozenset({"activation", "weights"}),
            no_portable=_contradict_portable(options),
            no_weights="use --precision int8 (with --option qnn.weights=int4 for 4-bit weights) or fp16",
        )

    def check(self, components: Sequence[Component], job: Job) -> list[Gap]:
        from edgekit.targets.qnn.check_model import check_model

        return [gap for component in components for gap in check_model(component, job)]

    def build(self, components: Sequence[Component], job: Job, out: Path) -> list[Artifact]:
        from edgekit.targets.qnn.build_component import build_component

        refuse_unsafe_names(components)
        return [build_component(component, job, out) for component in components]

    def open(self, artifact: Artifact, folder: Path) -> Session:
        from edgekit.targets.qnn.session import HtpSession

        source = next((folder / name for name in artifact.files if name.endswith(".qdq.onnx")), None)
        return HtpSession(folder / artifact.main, source)

    def device_run(self, artifact: Artifact, device: Device) -> DeviceRun:
        """The runner loads the context with the board's own onnxruntime-qnn wheel (ARM Linux only)."""
        del artifact, device
        folder = Path(__file__).parent / "device"
        needs = "pip install onnxruntime onnxruntime-qnn numpy"
        files = {name: folder / name for name in ("run_qnn.py", "qnn_profile.py")}
        return DeviceRun(files, runtime="run_qnn", needs=needs)

    def device_tool(self, artifact: Artifact, folder: Path, accelerator: str) -> DeviceTool:
        """onnxruntime_perf_test with the QNN provider, which runs on phones as they are."""
        from edgekit.targets.qnn.perf_test import PerfTest
        from edgekit.targets.qnn.session import describe_inputs

        main = folder / artifact.main
        return PerfTest(describe_inputs(main), accelerator, on_htp=main.is_dir())

    def extras(self, artifacts: Sequence[Artifact], job: Job, out: Path) -> list[str]:
        from edgekit.targets.qnn.snippets import write_snippets

        return write_snippets(artifacts, job, out)
