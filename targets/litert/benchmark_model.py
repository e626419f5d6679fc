"""LiteRT's own `benchmark_model`: its words, what it prints, its outputs and its times by operator.

It needs nothing else on the device, so it measures phones, which have no Python. It gives no single times: of
each call the mean, p5, p50, p95, least, most and spread. Every form it printed since 2021 is read.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

import numpy as np

from edgekit._device_tool import DeviceTool, LayerTime, ToolTimes, take_inputs
from edgekit._values import Placement
from edgekit.errors import UsageError
from edgekit.profiles.probes.transport import DeviceError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from edgekit._device_tool import Port, ToolCall

NEEDS = (
    "LiteRT's benchmark_model for the phone's ABI (android_aarch64 for most), from "
    "https://ai.google.dev/edge/litert/models/measurement"
)
# How the tool is told where to run. Its GPU delegate may compute in fp16, as apps mostly let it.
ACCELERATORS: Mapping[str, tuple[str, ...]] = {
    "cpu": ("--use_xnnpack=true",),
    "gpu": ("--use_gpu=true",),
    "nnapi": ("--use_nnapi=true",),
}
_COUNT = re.compile(r"\bcount=(\d+)\b(.*)")
_FIGURE = re.compile(r"\b(first|curr|min|max|avg|std|p5|median|p95)=([0-9.e+-]+)")
_SUMMARY = re.compile(
    r"Inference timings in us: Init: ([0-9.e+]+), First inference: ([0-9.e+]+), "
    r"Warmup \(avg\): ([0-9.e+]+), Inference \(avg\): ([0-9.e+]+)"
)
_PEAK = re.compile(r"Overall peak memory footprint \(MB\) via periodic monitoring: ([0-9.]+)")
_REPLACED = re.compile(r"Replacing (\d+) out of (\d+) node\(s\) with delegate \((\w+)\)")
_REFUSED = re.compile(
    r"operations are not supported by GPU delegate:\n(.*?)\n(?:\w+: )?(\d+) operations will run on the GPU, "
    r"and the remaining (\d+)",
    re.DOTALL,
)
_NAMES = {"avg": "mean", "median": "p50", "p95": "p95", "min": "min", "max": "max", "std": "std"}
_DELEGATES = {"TfLiteXNNPackDelegate": "CPU", "TfLiteGpuDelegateV2": "GPU", "TfLiteNnapiDelegate": "NNAPI"}
_RUN_ORDER, _NODE_TYPE = "Run Order", "node type"
_REGULAR = "Regular Benchmark Runs"
_MOST_LINES = 100_000


class BenchmarkModel(DeviceTool):
    """One .tflite file in the tool. `inputs` and `outputs`: (name, dtype, shape) in the file's order."""

    name = "benchmark_model"
    needs = NEEDS
    tells = "benchmark_model tells p5, p50 and p95 of each call, no other percentile and no single run"

    def __init__(self, inputs: Sequence[Port], outputs: Sequence[Port], accelerator: str) -> None:
        if accelerator not in ACCELERATORS:
            raise UsageError(
                f"benchmark_model has no accelerator '{accelerator}'",
                fix=f"use one of {', '.join(ACCELERATORS)}",
            )
        self._inputs, self._outputs, self._accelerator = inputs, outputs, accelerator

    def describe(self) -> str:
        return f"benchmark_model of LiteRT, accelerator {self._accelerator}"

    def encode(self, feeds: Mapping[str, np.ndarray]) -> list[bytes]:
        """Each input's raw bytes, in the file's order; UsageError for another dtype or shape."""
        return [array.tobytes() for array in take_inputs(feeds, self._inputs)]

    def command(self, call: ToolCall) -> tuple[str, ...]:
        """The words behind the program's own path."""
        # Names are the tool's own labels: it matches inputs by their order alone.
        names = [f"in{place}" for place in range(len(self._inputs))]
        files = ",".join(
            f"{name}:{file.replace(':', '::')}" for name, file in zip(names, call.inputs, strict=True)
        )
        words = [
            f"--graph={call.model}",
            f"--num_threads={call.threads}",
            f"--num_runs={call.runs}",
            f"--min_secs={call.seconds:g}",
            f"--max_secs={call.most_seconds:g}",
            f"--warmup_runs={call.warm_up}",
            "--warmup_min_secs=0",
            *ACCELERATORS[self._accelerator],
        ]
        if self._inputs:
            words += [
                f"--input_layer={','.join(names)}",
                f"--input_layer_shape={':'.join(','.join(map(str, shape)) for _, _, shape in self._inputs)}",
                f"--input_layer_value_files={files}",
            ]
        if call.output:
            words.append(f"--output_filepath={call.output}")
        if call.layers:
            words += ["--enable_op_profiling=true", f"--profiling_output_csv_file={call.layers}"]
            words += ["--max_profiling_buffer_entries=65536", "--report_peak_memory_footprint=true"]
        return tuple(words)

    def read(self, printed: str) -> ToolTimes:
        """What one call told; DeviceError where it timed nothing or a figure is none."""
        rows = [match for line in printed.splitlines() if (match := _COUNT.search(line))]
        summary = _SUMMARY.search(printed)
        if summary is None or not rows:
            raise _failure(f"timed nothing: {_last_words(printed)}")
        init, first, warm, mean = (_us(text) for text in summary.groups())
        figures = {name: _us(text) for name, text in _FIGURE.findall(rows[-1][2])}
        if "avg" not in figures:  # one run, or all alike: only `curr` is printed
            figures |= {name: figures.get("curr", mean) for name in ("avg", "min", "max", "median", "p95")}
            figures["std"] = 0.0
        peak = _PEAK.search(printed)
        return ToolTimes(
            count=int(rows[-1][1]),
            ms={ours: figures[theirs] for theirs, ours in _NAMES.items() if theirs in figures},
            load_ms=init,
            first_ms=first,
            warm_up_ms=warm,
            warm_up_count=int(rows[0][1]) if len(rows) > 1 else 0,
            peak_bytes=None if peak is None else float(peak[1]) * (1 << 20),
            placements=tuple(_placements(printed)),
        )

    @property
    def output_bytes(self) -> int:
        return sum(math.prod(shape) * np.dtype(dtype).itemsize for _, dtype, shape in self._outputs)

    def decode(self, data: bytes) -> dict[str, np.ndarray]:
        """Outputs by name from --output_filepath: the tensors' bytes one behind the other."""
        if len(data) != self.output_bytes:
            raise _failure(f"saved {len(data)} bytes of outputs, {self.output_bytes} were expected")
        found, place = {}, 0
        for name, dtype, shape in self._outputs:
            found[name] = np.frombuffer(data, dtype, math.prod(shape), place).reshape(shape)
            place += found[name].nbytes
        return found

    def layers(self, text: str, call: ToolCall) -> tuple[LayerTime, ...]:
        """Mean time by operator, in run order, from the CSV profile of the regular runs."""
        del call
        return tuple(_layer_rows(text))


def _failure(problem: str) -> DeviceError:
    return DeviceError(
        f"benchmark_model {problem}", fix="take the tool of the LiteRT release that the bundle was made with"
    )


def _us(text: str) -> float:
    """Microseconds as printed, in ms."""
    value = float(text) / 1e3
    if not math.isfinite(value) or value < 0:
        raise _failure(f"printed the time {text!r}")
    return value


def _last_words(printed: str) -> str:
    lines = [line.strip() for line in printed.splitlines() if line.strip()]
    wrong = [
        line for line in lines if re.match(r"(ERROR|FATAL|.*(rror|not found|denied|Unrecognized))", line)
    ]
    return (wrong or lines or ["it printed nothing"])[-1][:300]


def _placements(printed: str) -> Iterator[Placement]:
    """Where the graph's operators went, and what a delegate said of those that it left."""
    refused = _REFUSED.search(printed)
    why = "" if refused is None else "; ".join(line.strip() for line in refused[1].splitlines())
    left = None
    for match in _REPLACED.finditer(printed):
        taken, whole = int(match[1]), int(match[2])
        yield Placement(_DELEGATES.get(match[3], match[3]), taken, f"taken by {match[3]}")
        left = whole - taken
    if left is None and refused is not None:
        yield Placement("GPU", int(refused[2]), "as the GPU delegate says")
        left = int(refused[3])
    if left is None and "will not be executed by the delegate" in printed:
        yield Placement("CPU", None, "the delegate took nothing")
    elif left:
        yield Placement("CPU", left, f"left to LiteRT's own kernels{': ' + why if why else ''}")


def _layer_rows(text: str) -> Iterator[LayerTime]:
    """The rows of the regular runs in run order; a delegate's own only where it does not tell its parts."""
    rows = list(_read_rows(text))
    parts = any(row.name.startswith("Delegate/") for row in rows)
    yield from (row for row in rows if not (parts and row.op.startswith("TfLite")))


def _read_rows(text: str) -> Iterator[LayerTime]:
    regular, header = False, list[str]()
    for line in (line.strip() for line in text.splitlines()[:_MOST_LINES]):
        if "Profiling Info for" in line:
            regular = _REGULAR in line
        if line.startswith("===") or not line:
            header = [_NODE_TYPE] if _RUN_ORDER in line else []
        elif regular and header and line.startswith(f"{_NODE_TYPE},"):
            header = line.split(", ")
        elif regular and header:
            yield _layer_row(line, header)


def _layer_row(line: str, header: Sequence[str]) -> LayerTime:
    """Columns go by their headings: newer tools have no `start`. Types and names may hold commas."""
    numbers = len(header) - 2
    match = re.fullmatch(rf"(.+?), ((?:[0-9.e+-]+%?, ){{{max(numbers, 0)}}})(.*)", line)
    if match is None or "avg_ms" not in header:
        raise _failure(f"wrote a profile with the row '{line[:200]}'")
    values = dict(zip(header[1:-1], match[2].split(", "), strict=False))
    return LayerTime(match[3], match[1], _us(values["avg_ms"]) * 1e6)
