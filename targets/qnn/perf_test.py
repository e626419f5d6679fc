"""ONNX Runtime's own `onnxruntime_perf_test` with the QNN provider: its words, what it prints, its profile.

It needs no Python on the device, so it measures phones. Its words and lines are those that ONNX Runtime 1.23
and later document, which register the provider as a plug-in; the profile is the QNN provider's own CSV.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from edgekit._device_tool import DeviceTool, LayerTime, ToolTimes, take_inputs
from edgekit._values import Placement
from edgekit.errors import UsageError
from edgekit.profiles.probes.transport import DeviceError
from edgekit.targets.qnn.compile_contexts import MODEL
from edgekit.targets.qnn.device.qnn_profile import WHY, QnnProfileError, read_profile
from edgekit.targets.qnn.library import PROVIDER

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    import numpy as np

    from edgekit._device_tool import Port, ToolCall

_PLUGIN, _BACKEND, _SYSTEM = "libonnxruntime_providers_qnn.so", "libQnnHtp.so", "libQnnSystem.so"
NEEDS = (
    "onnxruntime_perf_test for Android (`./build.sh --android --build_shared_lib ...` of ONNX Runtime 1.23 "
    f"or later) in a folder with libonnxruntime.so, {_PLUGIN} (of com.qualcomm.qti:onnxruntime-android-qnn) "
    "and Qualcomm's libQnn*.so (of com.qualcomm.qti:qnn-runtime)"
)
# The tool splits its lists of options at these.
_SEPARATORS = re.compile(r"[\s|;]")
_WARM_UPS = 1
_NUMBER = r"([0-9.]+(?:e[+-]?[0-9]+)?)"
_COUNT = re.compile(r"^Total inference requests: (\d+)", re.MULTILINE)
_MEAN = re.compile(rf"^Average inference time cost(?: total)?: {_NUMBER} ms", re.MULTILINE)
_LOAD = re.compile(rf"^Session creation time cost: {_NUMBER} s", re.MULTILINE)
_PEAK = re.compile(r"^Peak working set size: (\d+) bytes", re.MULTILINE)
_RANKS = re.compile(rf"^(Min|Max|P50|P90|P95|P99) Latency: {_NUMBER} s", re.MULTILINE)


class PerfTest(DeviceTool):
    """One context on the HTP, or one ONNX file on the CPU.

    inputs: (name, dtype, shape) in the file's order.
    """

    name = "onnxruntime_perf_test"
    needs = NEEDS
    tells = "onnxruntime_perf_test tells mean, extremes, p50, p90, p95 and p99 of each call, no single run"
    warm_ups = _WARM_UPS
    saves_outputs = False

    def __init__(self, inputs: Sequence[Port], accelerator: str, *, on_htp: bool) -> None:
        if accelerator:
            raise UsageError(
                f"{self.name} has no accelerator '{accelerator}' to choose",
                fix="leave --accelerator out: a context runs on the HTP, its baseline on the CPU",
            )
        self._inputs, self._on_htp = inputs, on_htp
        if on_htp:
            self.machines = ("aarch64", "arm64")
            self.elsewhere = (
                "has no Hexagon NPU; Qualcomm's library would emulate it, and that time is no device's"
            )
        else:
            self.no_layers = "the CPU baseline of an NPU bundle is timed as a whole"

    def describe(self) -> str:
        where = "HTP, burst" if self._on_htp else "CPUExecutionProvider"
        return f"{self.name} of ONNX Runtime, {where}"

    def libraries(self, tool: Path) -> list[Path]:
        """Every library beside the tool. UsageError where a context's own are not among them."""
        found = sorted(path for path in tool.parent.glob("*.so*") if path.is_file())
        missing = {_PLUGIN, _BACKEND, _SYSTEM} - {path.name for path in found}
        if self._on_htp and missing:
            absent = " and no ".join(sorted(missing))
            raise UsageError(f"no {absent} lies beside tool '{tool}'", fix=f"needed: {NEEDS}")
        return found

    def environment(self, tools: str) -> dict[str, str]:
        """Where Android's linker finds the libraries, and the DSP's loader its skeleton."""
        return {"LD_LIBRARY_PATH": tools, "ADSP_LIBRARY_PATH": tools}

    def input_file(self, model: str, number: int, place: int) -> str:
        """The tool reads test_data_set_*/input_*.pb beside the model."""
        home = model if self._on_htp else model.rpartition("/")[0]
        return f"{home}/test_data_set_{number}/input_{place}.pb"

    def encode(self, feeds: Mapping[str, np.ndarray]) -> list[bytes]:
        """Each input as an ONNX TensorProto of its name; UsageError for another dtype or shape."""
        from onnx import numpy_helper

        names = [name for name, _, _ in self._inputs]
        arrays = take_inputs(feeds, self._inputs)
        return [
            numpy_helper.from_array(array, name).SerializeToString()
            for name, array in zip(names, arrays, strict=True)
        ]

    def command(self, call: ToolCall) -> tuple[str, ...]:
        """The words behind the program's own path."""
        length = ("-t", str(math.ceil(call.seconds))) if call.seconds else ("-r", str(call.runs))
        words = [*length, "-x", str(call.threads), "-s"]
        if self._on_htp:
            words += self._provider(call)
        return (*words, f"{call.model}/{MODEL}" if self._on_htp else call.model)

    def _provider(self, call: ToolCall) -> list[str]:
        if _SEPARATORS.search(call.folder + call.tools):
            raise DeviceError(
                f"{self.name} cannot be told of the folder '{call.folder}'",
                fix="choose one without spaces, '|' and ';' (--keep, EDGEKIT_ADB_FOLDER)",
            )
        options = {"backend_path": f"{call.tools}/{_BACKEND}", "htp_performance_mode": "burst"}
        if call.layers:
            options |= {"profiling_level": "detailed", "profiling_file_path": f"{call.folder}/{call.layers}"}
        return [
            "--plugin_ep_libs",
            f"{PROVIDER}|{call.tools}/{_PLUGIN}",
            "--plugin_eps",
            PROVIDER,
            "--plugin_ep_options",
            " ".join(f"{name}|{value}" for name, value in options.items()),
        ]

    def read(self, printed: str) -> ToolTimes:
        """What one call told, but the first run, told in whole ms. DeviceError where it timed nothing."""
        count, mean, load, peak = (form.search(printed) for form in (_COUNT, _MEAN, _LOAD, _PEAK))
        if count is None or mean is None or int(count[1]) < 1:
            lines = [line.strip() for line in printed.splitlines() if line.strip()]
            raise DeviceError(
                f"{self.name} timed nothing: {(lines or ['it printed nothing'])[-1][:300]}",
                fix="take the tool of ONNX Runtime 1.23 or later",
            )
        ranks = {name.lower(): float(text) * 1e3 for name, text in _RANKS.findall(printed)}
        return ToolTimes(
            count=int(count[1]),
            ms={"mean": float(mean[1]), **ranks},
            load_ms=None if load is None else float(load[1]) * 1e3,
            warm_up_count=_WARM_UPS,
            peak_bytes=None if peak is None else float(peak[1]),
        )

    def layers(self, text: str, call: ToolCall) -> tuple[LayerTime, ...]:
        """Mean time of a run by node; DeviceError for a profile that is none, or was cut off."""
        try:
            rows = read_profile(text, call.runs + _WARM_UPS)
        except QnnProfileError as error:
            raise DeviceError(
                f"{call.layers}: {error}", fix="run it again with --keep, and see what lies there"
            ) from error
        return tuple(LayerTime(str(row["name"]), str(row["op"]), float(str(row["us"]))) for row in rows)

    def place(self, layers: tuple[LayerTime, ...]) -> tuple[Placement, ...]:
        """On the HTP is what its profile lists; what a partition leaves to the CPU is not in it."""
        return (Placement("HTP", len(layers), WHY),) if layers else ()
