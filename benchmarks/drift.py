"""What drift costs: merging a fleet's field files, and the monitor beside the inference that it watches.

python -m benchmarks.drift [FILES]     (10,000 field files by default; about two minutes)
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.measure import Jobs, print_table, run_job, serve_job

if TYPE_CHECKING:
    import numpy as np

    from edgekit._monitor.device.monitor import Monitor

NAME = "benchmarks.drift"
FILES = 10_000
# Distinct monitors behind the files: each file is read, checked and merged all the same.
DISTINCT = 50
INFERENCES = 400
MODELS = ("ppocr-det", "ppocr-rec")
# Each turn holds one block of inferences against the one beside it; a block has a sketch's taking in or two.
TURNS, RUNS = 24, 16


def make_bundle(work: str) -> str:
    """A small int8 bundle; the folder."""
    from tests.converted import make_bundle as convert_toy

    return str(convert_toy(Path(work)))


def make_fields(bundle: str, folder: str, count: str) -> dict[str, float]:
    """So many field files with full sketches of every tensor; how large one is."""
    import numpy as np

    import edgekit
    from edgekit._monitor.device.monitor import Monitor

    digest, draw = edgekit.verify(bundle).digest, np.random.default_rng(0)
    seen, size = [], 0
    for _ in range(DISTINCT):
        monitor = Monitor(digest, variant="int8", share=1.0)
        for _ in range(INFERENCES):
            x = draw.standard_normal((1, 3, 16, 16)).astype(np.float32)
            monitor.observe({"x": x}, {"y": draw.random(10)}, draw.lognormal(-4, 0.3), 0.5)
        seen.append(monitor.to_json())
    for number in range(int(count)):
        text = json.dumps({**seen[number % DISTINCT], "device": f"unit-{number}"}, separators=(",", ":"))
        size += Path(folder, f"{number}.json").write_text(text)
    return {"kb": size / 1e3 / int(count)}


def merge(bundle: str, folder: str) -> dict[str, float]:
    """The whole command on the folder."""
    import edgekit

    result = edgekit.drift(bundle, folder)
    return {"files": result.files, "inferences": result.inferences}


def watch(name: str) -> dict[str, float]:
    """CPU milliseconds an inference of a real model, bare and with a monitor, in turns in one process.

    more: the median over the turns of what watching adds, in percent, with the quarter and three quarters of
    them; other work on the host moves single turns.
    """
    import numpy as np
    import onnxruntime as ort

    from edgekit._monitor.device.monitor import Monitor
    from tests.models import package_model

    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(package_model(name), options, providers=["CPUExecutionProvider"])
    shape = (1, 3, 320, 320) if name == "ppocr-det" else (1, 3, 48, 320)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    feeds, outputs = {session.get_inputs()[0].name: x}, [one.name for one in session.get_outputs()]
    monitor = Monitor("0" * 64)
    session.run(outputs, feeds)
    spent = np.empty((TURNS, 2))
    for turn, which in ((turn, which) for turn in range(TURNS) for which in (0, 1)):
        begun = time.process_time()
        for _ in range(RUNS):
            _infer(session, outputs, feeds, monitor if which else None)
        spent[turn, which] = time.process_time() - begun
    more = np.quantile(100 * (spent[:, 1] / spent[:, 0] - 1), (0.25, 0.5, 0.75))
    return {
        "bare": 1e3 * float(np.median(spent[:, 0])) / RUNS,
        "watched": 1e3 * float(np.median(spent[:, 1])) / RUNS,
        **dict(zip(("least", "more", "most"), more.tolist(), strict=True)),
        "own_percent": 100 * monitor.spent_s / monitor.latency.total,
        "sketched_percent": 100 * monitor.sketched / monitor.latency.count,
    }


def _infer(
    session: object, outputs: list[str], feeds: dict[str, np.ndarray], monitor: Monitor | None
) -> None:
    begun = time.perf_counter()
    found = session.run(outputs, feeds)  # type: ignore[attr-defined]  # onnxruntime has no types
    if monitor is not None:
        monitor.observe(feeds, dict(zip(outputs, found, strict=True)), time.perf_counter() - begun)


_WATCHED = ("bare", "watched", "more", "least", "most", "own_percent", "sketched_percent")
JOBS: Jobs = {"bundle": make_bundle, "fields": make_fields, "merge": merge, "watch": watch}


def main() -> None:
    """Measure and print two tables."""
    if serve_job(JOBS):
        return
    files = int(sys.argv[1]) if len(sys.argv) > 1 else FILES
    rows: list[tuple[object, ...]] = []
    with tempfile.TemporaryDirectory() as work:
        bundle = run_job(NAME, "bundle", work).result
        for count in (files // 10, files):
            folder = Path(work, str(count))
            folder.mkdir()
            size = run_job(NAME, "fields", bundle, folder, count).result["kb"]
            cost = run_job(NAME, "merge", bundle, folder)
            rows.append((cost.result["files"], size, cost.user_s, cost.wall_s, cost.peak_mb))
    print_table("edgekit drift", ("files", "kB each", "user CPU s", "wall s", "peak MB"), rows)
    watched = []
    for name in MODELS:
        found = run_job(NAME, "watch", name).result
        watched.append((name, *(found[key] for key in _WATCHED)))
    header = ("model", "bare CPU ms", "watched", "more %", "from", "to", "own clock %", "sketched %")
    print_table("the monitor beside ONNX Runtime, one core", header, watched)


if __name__ == "__main__":
    main()
