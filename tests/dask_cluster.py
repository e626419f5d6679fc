"""A real Dask scheduler and workers, each a process, on loopback only."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

_SECONDS = 60


@dataclass(frozen=True)
class Cluster:
    """Where the scheduler listens, and its workers, which a test may kill."""

    address: str
    workers: tuple[subprocess.Popen[bytes], ...]


@contextmanager
def open_cluster(folder: Path, workers: int = 2) -> Iterator[Cluster]:
    """A scheduler on a free port of 127.0.0.1 with `workers` of one thread each; all end with the test."""
    note = folder / "scheduler.json"
    local = ("--host", "127.0.0.1", "--no-dashboard")
    scheduler = _start("scheduler", *local, "--port", "0", "--scheduler-file", str(note))
    started = [scheduler]
    try:
        _wait(lambda: note.exists() and note.stat().st_size > 0, scheduler)
        address = str(json.loads(note.read_text())["address"])
        place = ("--local-directory", str(folder), "--nthreads", "1", "--no-nanny")
        started += [_start("worker", address, *local, *place) for _ in range(workers)]
        _wait(lambda: _count_workers(address) == workers, *started)
        yield Cluster(address, tuple(started[1:]))
    finally:
        for process in started:
            process.kill()
            process.wait()


def _start(kind: str, *words: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", f"distributed.cli.dask_{kind}", *words]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _count_workers(address: str) -> int:
    distributed: Any = import_module("distributed")
    with distributed.Client(address, timeout=5, set_as_default=False) as client:
        return len(client.scheduler_info()["workers"])


def _wait(ready: object, *processes: subprocess.Popen[bytes]) -> None:
    assert callable(ready)
    end = time.monotonic() + _SECONDS
    while not ready():
        assert time.monotonic() < end, "the Dask cluster did not start"
        assert all(process.poll() is None for process in processes), "a process of the cluster ended"
        time.sleep(0.1)
