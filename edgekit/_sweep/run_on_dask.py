"""Runs a sweep's jobs on a Dask cluster that exists: edgekit starts no scheduler and no worker.

The workers need the same edgekit and tools (asked of each before any job) and see the same paths: models,
samples, cache and output lie on a file system that all share.
"""

from __future__ import annotations

import re
from importlib import import_module
from typing import TYPE_CHECKING, Any

from edgekit._cache import code_digest, tool_versions
from edgekit._sweep.run_job import TRIES, run_job
from edgekit._sweep_values import SweepResult, SweepRow
from edgekit.errors import CannotRunHere, MissingToolError, UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._sweep_values import SweepJob
    from edgekit._values import Progress

_ADDRESS = re.compile(r"(tcp|tls|ws|wss)://[^\s/]+:[0-9]{1,5}")
CONNECT_SECONDS = 10


def run_on_dask(jobs: Sequence[SweepJob], address: str, progress: Progress) -> SweepResult:
    """One task a job; Dask gives what a dead worker had to another one.

    CannotRunHere where no scheduler answers, none of its workers does, or one has another edgekit.
    """
    if not _ADDRESS.fullmatch(address):
        raise UsageError(f"--dask '{address}' is no address", fix="write it as tcp://HOST:8786")
    distributed = _import_distributed()
    client = _connect(distributed, address)
    try:
        count = _check_workers(client, address)
        rows = _collect(distributed, client, jobs, progress)
    finally:
        client.close()
    return SweepResult(rows, f"{count} workers of {address}")


def describe_worker() -> dict[str, str]:
    """What a worker would convert with: equal everywhere, or results would differ from place to place."""
    return {"edgekit's code": code_digest()[:12], **tool_versions()}


def _import_distributed() -> Any:
    try:
        return import_module("distributed")
    except ImportError as error:
        raise MissingToolError("dask is not installed", fix='pip install "edgekit[dask]"') from error


def _connect(distributed: Any, address: str) -> Any:
    try:
        return distributed.Client(address, timeout=CONNECT_SECONDS, set_as_default=False)
    except (OSError, TimeoutError, ValueError) as error:
        raise CannotRunHere(
            f"no Dask scheduler answers at {address} within {CONNECT_SECONDS} s",
            fix="start one (`dask scheduler`, then `dask worker ADDRESS`), or leave --dask out to run here",
        ) from error


def _check_workers(client: Any, address: str) -> int:
    """How many there are; all must have this edgekit and these tools."""
    found: Mapping[str, dict[str, str]] = client.run(describe_worker)
    if not found:
        raise CannotRunHere(
            f"the Dask scheduler at {address} has no worker", fix=f"start some: dask worker {address}"
        )
    mine = describe_worker()
    for worker, theirs in found.items():
        other = [name for name in mine if theirs.get(name) != mine[name]]
        if other:
            tool = other[0]
            raise CannotRunHere(
                f"Dask worker {worker} has another {tool} ({theirs.get(tool)}, here {mine[tool]})",
                fix="install the same edgekit and tools there: results must not depend on where a job ran",
            )
    return len(found)


def _collect(
    distributed: Any, client: Any, jobs: Sequence[SweepJob], progress: Progress
) -> tuple[SweepRow, ...]:
    futures = [client.submit(run_job, job, pure=False) for job in jobs]
    places = {future.key: index for index, future in enumerate(futures)}
    rows: dict[int, SweepRow] = {}
    for future in distributed.as_completed(futures, loop=client.loop):
        index = places[future.key]
        rows[index] = _row_of(future, jobs[index])
        progress("sweep", len(rows), len(jobs))
    return tuple(rows[index] for index in range(len(jobs)))


def _row_of(future: Any, job: SweepJob) -> SweepRow:
    if future.status == "finished":
        row: SweepRow = future.result()
        return row
    told = f"every worker that had it died: {str(future.exception()).splitlines()[0][:300]}"
    return SweepRow(job.name, job.target, "died", error=told, tries=TRIES)
