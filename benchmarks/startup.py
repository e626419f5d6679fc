"""How long the short commands take beside a bare `import click`: median wall and user CPU."""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import time

RUNS = 15
SLACK_SECONDS = 0.1  # the limit: twice a bare `import click`, plus this


def measure(command: list[str]) -> tuple[float, float]:
    """Wall and user CPU seconds of one run."""
    before, start = os.times().children_user, time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start, os.times().children_user - before


def main() -> int:
    """Print the table; 1 when a command is over the limit by its median."""
    edgekit = shutil.which("edgekit")
    if edgekit is None:
        print("edgekit is not on PATH: pip install -e .")
        return 2
    commands = {
        "python -c 'import click'": [sys.executable, "-c", "import click"],
        "edgekit --help": [edgekit, "--help"],
        "edgekit targets": [edgekit, "targets"],
        "edgekit devices": [edgekit, "devices"],
    }
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in commands}
    for _ in range(RUNS):  # in turn, so that a busy machine is as busy for each
        for name, command in commands.items():
            times[name].append(measure(command))
    median = {
        name: [statistics.median(column) for column in zip(*rows, strict=True)]
        for name, rows in times.items()
    }
    bare = median["python -c 'import click'"]
    limits = [2 * seconds + SLACK_SECONDS for seconds in bare]
    print(
        f"{'command':26}{'wall':>9}{'best':>9}{'user':>9}   limit {limits[0]:.3f} s wall (2x click + 100 ms)"
    )
    slow = False
    for name, (wall, user) in median.items():
        over = name.startswith("edgekit") and (wall > limits[0] or user > limits[1])
        slow |= over
        best = min(seconds for seconds, _ in times[name])
        print(f"{name:26}{wall:8.3f}s{best:8.3f}s{user:9.3f}s   {'OVER' if over else 'ok'}")
    return 1 if slow else 0


if __name__ == "__main__":
    sys.exit(main())
