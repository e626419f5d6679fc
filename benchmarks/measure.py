"""Runs a job in a process of its own, pinned to one core, and tells its CPU time and peak memory.

A job is a function of a benchmark module, named on the command line; its result is the last line of
its output, as JSON. One core: the thread pools of the runtimes spin while they wait, which would
count as work. Keep heavy imports out of the top of a benchmark module: on Linux a child's peak
memory starts at its parent's.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

Jobs: TypeAlias = "Mapping[str, Callable[..., object]]"
ROOT = Path(__file__).parents[1]


@dataclass(frozen=True)
class Cost:
    """What one process used (user and system CPU seconds, peak MB resident) and what it returned."""

    user_s: float
    system_s: float
    wall_s: float
    peak_mb: float
    result: Any


def run_job(module: str, job: str, *args: object) -> Cost:
    """Run `python -m MODULE --job JOB ARGS...` from the repository root and measure that process."""
    return run_process([sys.executable, "-m", module, "--job", job, *map(str, args)])


def run_process(command: Sequence[str]) -> Cost:
    """Run one command line; the result is its last line as JSON, or None if that is not JSON."""
    start = time.perf_counter()
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as errors:
        with _one_core():
            process = subprocess.Popen(command, cwd=ROOT, stdout=out, stderr=errors)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - start
        process.returncode = os.waitstatus_to_exitcode(status)
        out.seek(0)
        errors.seek(0)
        if process.returncode:
            raise SystemExit(f"{' '.join(command)}: exit {process.returncode}\n{errors.read()[-4000:]}")
        result = _read_last_line(out.read())
    unit = 1 << 20 if sys.platform == "darwin" else 1 << 10
    return Cost(usage.ru_utime, usage.ru_stime, wall, usage.ru_maxrss / unit, result)


def serve_job(jobs: Jobs) -> bool:
    """In a benchmark's main: if this process was started for a job, do it, print its result, say True."""
    if sys.argv[1:2] != ["--job"]:
        return False
    print(json.dumps(jobs[sys.argv[2]](*sys.argv[3:])))
    return True


def print_table(title: str, header: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """Print aligned columns; floats with two digits."""
    cells = [[f"{v:.2f}" if isinstance(v, float) else str(v) for v in row] for row in [header, *rows]]
    widths = [max(len(row[i]) for row in cells) for i in range(len(header))]
    print(f"\n{title}")
    for index, row in enumerate(cells):
        print("  ".join(text.ljust(width) for text, width in zip(row, widths, strict=True)).rstrip())
        if index == 0:
            print("  ".join("-" * width for width in widths))


@contextmanager
def _one_core() -> Iterator[None]:
    """A process started inside runs on one core (Linux; elsewhere nothing is pinned)."""
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    cores = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(cores)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, cores)


def _read_last_line(output: str) -> Any:
    try:
        return json.loads(output.rstrip().rsplit("\n", 1)[-1])
    except json.JSONDecodeError:
        return None
