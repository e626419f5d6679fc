"""Calibration of PP-OCRv4 det on pages of 640x640: edgekit's observers, plain forward passes, onnxruntime's.

    python -m benchmarks.calibration [--samples 32] [--observers minmax percentile entropy mse] [--peers 8]

Every line is a process of its own on one core: CPU time (user and system) of opening the session and
going over the samples, peak memory of the process. Plain and edgekit run the same prepared model with
graph optimizations off. onnxruntime's Entropy and Percentile keep all activations, so they get
`--peers` samples (0: leave onnxruntime out), and their time is set against as many plain passes.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
from pathlib import Path

if __name__ == "__main__":
    sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.measure import Cost, Jobs, print_table, run_job, serve_job

NAME = "benchmarks.calibration"
OBSERVERS = ("minmax", "percentile", "entropy", "mse")
PEERS = ("MinMax", "Entropy", "Percentile")
Row = tuple[object, ...]


def prepare(work: str, count: str) -> None:
    """Render the pages and write the prepared model once."""
    import onnx_ir as ir

    from edgekit._values import Component, DimRange
    from edgekit.passes.prepare_component import prepare_component
    from examples.rendered_text import find_model, render_pages, save_samples, to_det_input

    save_samples(map(to_det_input, render_pages("calibration", int(count))), Path(work) / "pages")
    component = Component("model", ir.load(find_model("det")), "0" * 64)
    shape = tuple(DimRange(size, size) for size in (1, 3, 640, 640))
    ir.save(prepare_component(component, shapes={"x": shape}).model, Path(work) / "model.onnx")


def run_plain(work: str, count: str) -> float:
    """CPU seconds of plain forward passes with graph optimizations off."""
    import numpy as np
    import onnxruntime as ort

    start = read_cpu()
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1  # more threads than cores would spin, and count as work
    session = ort.InferenceSession(Path(work) / "model.onnx", options, providers=["CPUExecutionProvider"])
    for file in sorted((Path(work) / "pages").glob("*.npz"))[: int(count)]:
        with np.load(file) as content:
            session.run(None, {"x": content["x"]})
    return read_cpu() - start


def run_edgekit(work: str, count: str, observer: str) -> float:
    """CPU seconds of one calibration: instrumenting, digest, passes and ranges."""
    import onnx_ir as ir

    from edgekit._values import Component, TensorInfo
    from edgekit.calibration.observe_ranges import observe_ranges
    from edgekit.calibration.samples import load_samples

    component = Component("model", ir.load(Path(work) / "model.onnx"), "0" * 64)
    start = read_cpu()
    inputs = [TensorInfo("x", "float32", (1, 3, 640, 640))]
    samples = load_samples(Path(work) / "pages", inputs, limit=int(count))
    observe_ranges(component, samples, observer=observer)
    return read_cpu() - start


def run_peer(work: str, count: str, method: str) -> float:
    """CPU seconds of onnxruntime's calibrator: augmenting, collecting and computing the ranges."""
    from onnxruntime.quantization import CalibrationDataReader, CalibrationMethod, create_calibrator

    from benchmarks.peers import load_feed

    class Reader(CalibrationDataReader):  # type: ignore[misc]  # onnxruntime ships no types
        def __init__(self) -> None:
            self._files = iter(sorted((Path(work) / "pages").glob("*.npz"))[: int(count)])

        # Its own docstring says that None ends the samples; its annotation does not.
        def get_next(self) -> object:  # pyright: ignore[reportIncompatibleMethodOverride]
            file = next(self._files, None)
            return None if file is None else load_feed(file)

    start = read_cpu()
    calibrator = create_calibrator(
        str(Path(work) / "model.onnx"),
        augmented_model_path=str(Path(work) / "augmented.onnx"),
        calibrate_method=CalibrationMethod[method],
    )
    calibrator.collect_data(Reader())
    calibrator.compute_data()
    return read_cpu() - start


def read_cpu() -> float:
    """User and system CPU seconds of this process so far."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


JOBS: Jobs = {"prepare": prepare, "plain": run_plain, "edgekit": run_edgekit, "peer": run_peer}


def make_row(title: str, count: int, cost: Cost, plain: Cost) -> Row:
    """CPU and peak memory, beside plain passes over as many samples."""
    ratio = cost.result / plain.result
    return title, count, float(cost.result), ratio, round(cost.peak_mb), round(cost.peak_mb - plain.peak_mb)


def measure(work: str, samples: int, peers: int, observers: list[str]) -> list[Row]:
    """Every line of the table."""
    plain = run_job(NAME, "plain", work, samples)
    rows = [make_row("plain forward, optimizations off", samples, plain, plain)]
    for observer in observers:
        cost = run_job(NAME, "edgekit", work, samples, observer)
        rows.append(make_row(f"edgekit {observer}", samples, cost, plain))
    few = run_job(NAME, "plain", work, peers) if peers else plain
    for method in PEERS if peers else ():
        count, base = (samples, plain) if method == "MinMax" else (peers, few)
        cost = run_job(NAME, "peer", work, count, method)
        rows.append(make_row(f"onnxruntime {method}", count, cost, base))
    return rows


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--peers", type=int, default=8)
    parser.add_argument("--observers", nargs="*", choices=OBSERVERS, default=list(OBSERVERS))
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as work:
        run_job(NAME, "prepare", work, options.samples)
        rows = measure(work, options.samples, options.peers, options.observers)
    header = ("what", "samples", "CPU s", "x plain", "peak MB", "MB over plain")
    print_table("Calibration on PP-OCRv4 det, 640x640, one core", header, rows)


if __name__ == "__main__" and not serve_job(JOBS):
    main()
