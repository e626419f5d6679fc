"""Runs a sweep's jobs, several at a time, and puts their rows into the recipe's order."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TYPE_CHECKING

from edgekit._sweep.read_sweep import read_sweep
from edgekit._sweep.run_job import run_job
from edgekit._sweep_values import SweepResult
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from edgekit._sweep.read_sweep import SweepWords
    from edgekit._sweep_values import SweepJob, SweepRow
    from edgekit._values import Progress

MOST_WORKERS = 256


def run_sweep(path: Path, words: SweepWords, progress: Progress) -> SweepResult:
    """Every model for every target; a job that is refused or dies leaves the others alone.

    Nothing is run where the recipe makes no sense. With `dask`, CannotRunHere where no cluster answers.
    """
    jobs = read_sweep(path, words)
    address, workers = words.get("dask"), words.get("workers")
    if address is not None:
        if workers is not None:
            raise UsageError(
                "--workers is about local processes, and --dask names a cluster",
                fix="start that many workers on the cluster",
            )
        from edgekit._sweep.run_on_dask import run_on_dask

        return run_on_dask(jobs, address, progress)
    return _run_here(jobs, _count(workers), progress)


def _run_here(jobs: Sequence[SweepJob], workers: int, progress: Progress) -> SweepResult:
    """A thread waits for each process."""
    rows: dict[int, SweepRow] = {}
    with ThreadPoolExecutor(workers) as pool:
        waiting = {pool.submit(run_job, job): index for index, job in enumerate(jobs)}
        try:
            for done in as_completed(waiting):
                rows[waiting[done]] = done.result()
                progress("sweep", len(rows), len(jobs))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return SweepResult(tuple(rows[index] for index in range(len(jobs))), f"{workers} local processes")


def _count(workers: int | None) -> int:
    if workers is None:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if not 1 <= workers <= MOST_WORKERS:
        raise UsageError(f"--workers {workers} is no count", fix=f"give 1 to {MOST_WORKERS}")
    return workers
