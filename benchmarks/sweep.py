"""A sweep on one Dask worker and on two, each pinned to a core of its own: seconds, ratio, equal bundles.

    python -m benchmarks.sweep [--repeat 2]                               (about 5 minutes; two cores)

Eight jobs (two PP-OCR models, magika and basic-pitch, for ort-mobile and tensorrt in fp32), cold caches each
time. Wall-clock time: on a machine that others use, read the ratio.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

from benchmarks.litert_models import MODELS
from benchmarks.measure import print_table

if TYPE_CHECKING:
    import subprocess

NAMES = ("ppocr-cls", "ppocr-rec", "magika", "basic-pitch")


def write_recipe(folder: Path) -> Path:
    """The sweep recipe: float variants, so that no calibration data are shared between jobs."""
    lines = ["targets = ['ort-mobile', 'jetson-orin']", "precisions = ['fp32']", "golden_count = 1"]
    for name in NAMES:
        model = MODELS[name]
        lines += ["[[models]]", f"name = '{name}'", f"model = '{model.find()}'", "[models.shapes]"]
        lines += [f'"{feed}" = "{dims}"' for feed, dims in model.shapes.items()]
    path = folder / "sweep.toml"
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def pin(processes: list[subprocess.Popen[bytes]]) -> None:
    """Each worker and what it starts on a core of its own."""
    cores = sorted(os.sched_getaffinity(0))
    for index, process in enumerate(processes):
        for thread in Path(f"/proc/{process.pid}/task").iterdir():
            os.sched_setaffinity(int(thread.name), {cores[index % len(cores)]})


def measure(recipe: Path, workers: int) -> tuple[float, tuple[str, ...]]:
    """Seconds of one sweep, and its bundles' digests."""
    import edgekit
    from tests.dask_cluster import open_cluster

    with tempfile.TemporaryDirectory() as work, open_cluster(Path(work), workers) as cluster:
        pin(list(cluster.workers))
        started = time.monotonic()
        result = edgekit.sweep(
            recipe, dask=cluster.address, output=Path(work) / "out", cache=Path(work) / "cache"
        )
        seconds = time.monotonic() - started
    if any(not row.digest for row in result.rows):
        raise SystemExit("\n".join(row.error for row in result.rows if row.error))
    return seconds, tuple(row.digest for row in result.rows)


def main() -> None:
    """Measure one and two workers in turns and print the ratio."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--repeat", type=int, default=2)
    rounds = parser.parse_args().repeat
    with tempfile.TemporaryDirectory() as folder:
        recipe = write_recipe(Path(folder))
        rows: list[list[object]] = []
        found: set[tuple[str, ...]] = set()
        for _ in range(rounds):
            (one, first), (two, second) = measure(recipe, 1), measure(recipe, 2)
            found |= {first, second}
            rows.append([one, two, one / two])
    print_table("8 jobs", ["one worker s", "two workers s", "ratio"], rows)
    print(
        f"bundles equal in all runs: {len(found) == 1}; "
        f"load now {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
