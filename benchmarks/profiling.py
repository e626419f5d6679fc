"""What profiling itself costs: CPU an iteration over a bare loop, memory of a long soak, a big report.

python -m benchmarks.profiling     (about a minute)
"""

from __future__ import annotations

import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.measure import Jobs, print_table, run_job, serve_job

NAME = "benchmarks.profiling"
RUNS, TURNS = 2000, 5
BUNDLES = 50
SOAK_SAMPLES, RAILS = 6000, 8  # ten minutes at 10 Hz


def make_bundle(work: str) -> str:
    """A small int8 bundle with its fp32 baseline; the folder."""
    from tests.converted import make_bundle as convert_toy

    return str(convert_toy(Path(work)))


def compare_loops(bundle: str) -> dict[str, float]:
    """CPU microseconds a run of the runner's worker and of a bare loop, in turns in one process."""
    import json

    import numpy as np

    from edgekit.profiles import probes

    device = Path(probes.__file__).parent / "device"
    sys.path[:0] = [str(device), str(device.parents[2] / "targets" / "ort_mobile" / "device")]
    import worker as device_worker  # type: ignore[import-not-found]  # a device-side script, found by path

    manifest = json.loads((Path(bundle) / "manifest.json").read_text())
    inputs = manifest["components"][0]["golden"]["samples"][0]["inputs"]
    item = {
        "index": 0,
        "runtime": "run_onnxruntime",
        "model": f"{bundle}/{manifest['artifacts'][0]['main']}",
        "threads": 1,
        "accelerator": None,
        "samples": [{name: f"{bundle}/{file}" for name, file in inputs.items()}],
    }
    one: Any = device_worker.Worker({"workers": [item]}, 0)
    one.load()
    feeds = {name: np.load(f"{bundle}/{file}") for name, file in inputs.items()}
    session, outputs = one.model.session, one.model.outputs
    spent = {"runner": 0.0, "bare": 0.0}
    for _ in range(TURNS):
        start = time.process_time()
        one.time(RUNS, None)
        spent["runner"] += time.process_time() - start
        start = time.process_time()
        for _ in range(RUNS):
            session.run(outputs, feeds)
        spent["bare"] += time.process_time() - start
    return {name: 1e6 * seconds / RUNS / TURNS for name, seconds in spent.items()}


def hear_soak(samples: str) -> dict[str, float]:
    """Take in the events of a soak of so many sensor samples; the memory is the process's peak."""
    import json

    from edgekit._profile.heard import Heard

    heard = Heard.of(1)
    values = {f"power/rail{number}_W": 1.5 for number in range(RAILS)}
    for number in range(int(samples)):
        heard.take(json.dumps({"event": "sensors", "at": number / 10, "values": values}).encode())
    return {"samples": len(heard.samples)}


def write_big_report(bundle: str) -> dict[str, float]:
    """BUNDLES devices, each with 1000 latencies, traces and layers, as one page."""
    import random

    from edgekit._feasibility import Report, describe_bundles
    from edgekit._profile import Trace, load_profile, profiles_folder
    from edgekit.reports.html_report import render_html

    (device,) = describe_bundles([Path(bundle)], {})
    (file,) = profiles_folder(Path(bundle)).glob("*.json")
    profile = load_profile(file)
    draw = random.Random(0)
    artifacts = tuple(
        replace(one, latencies_ms=tuple(draw.gauss(10, 1) for _ in range(1000))) for one in profile.artifacts
    )
    trace = Trace("power/VDD_IN", "W", tuple(range(600)), tuple(draw.gauss(5, 1) for _ in range(600)))
    many = [
        replace(
            device,
            device=f"device-{number}",
            profiles=(replace(profile, artifacts=artifacts, traces=(trace,)),),
        )
        for number in range(BUNDLES)
    ]
    start = time.process_time()
    page = render_html(Report(tuple(many), {}), "A big report")
    return {"cpu_s": time.process_time() - start, "mb": len(page.encode()) / 1e6}


def profile_once(bundle: str) -> None:
    """One real profile beside the bundle, for the report."""
    import edgekit

    edgekit.profile(bundle, runs=20, warm_up=1)


JOBS: Jobs = {
    "bundle": make_bundle,
    "loops": compare_loops,
    "soak": hear_soak,
    "profile": profile_once,
    "report": write_big_report,
}


def main() -> None:
    """Measure and print one table."""
    if serve_job(JOBS):
        return
    with tempfile.TemporaryDirectory() as work:
        bundle = run_job(NAME, "bundle", work).result
        run_job(NAME, "profile", bundle)
        loops = run_job(NAME, "loops", bundle).result
        short, long = (run_job(NAME, "soak", str(count)) for count in (SOAK_SAMPLES // 10, SOAK_SAMPLES))
        report = run_job(NAME, "report", bundle).result
    rows: list[tuple[object, ...]] = [
        ("CPU us a run, bare loop", loops["bare"], ""),
        ("CPU us a run, edgekit's runner", loops["runner"], ""),
        ("difference", loops["runner"] - loops["bare"], "under 20"),
        ("peak MB hearing 1 minute of sensors", short.peak_mb, ""),
        ("peak MB hearing 10 minutes of sensors", long.peak_mb, "flat"),
        (f"CPU s of a report over {BUNDLES} bundles", report["cpu_s"], "under 5"),
        ("its size in MB", report["mb"], "under 3"),
    ]
    print_table("What profiling and reporting cost", ("", "measured", "aim"), rows)


if __name__ == "__main__":
    main()
