"""One job in a process of its own: whatever kills it, the sweep goes on and tries it again.

A Dask worker runs this very function, so that a job gives the same there as on local processes.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import asdict, replace
from typing import TYPE_CHECKING, Any

from edgekit._sweep_values import SweepRow

if TYPE_CHECKING:
    from edgekit._sweep_values import SweepJob

TRIES = 3  # of a job whose process died; an error that edgekit tells is final, it would come again
_CHILD = (sys.executable, "-m", "edgekit._sweep.child")


def run_job(job: SweepJob) -> SweepRow:
    """What came of a job, tried again where its process was killed; raises nothing of the job's own."""
    started, told = time.monotonic(), ""
    for tries in range(1, TRIES + 1):
        answer, told = _run_once(job)
        if answer is not None:
            row = SweepRow(**{**answer, "variants": tuple(answer["variants"])})
            return replace(row, tries=tries, seconds=time.monotonic() - started)
    seconds = time.monotonic() - started
    return SweepRow(job.name, job.target, "died", error=told, tries=TRIES, seconds=seconds)


def _run_once(job: SweepJob) -> tuple[dict[str, Any] | None, str]:
    """The answer of one process, or None and how it ended.

    Its standard input stays open: when this process is killed, that end is what tells the child to go too.
    """
    with tempfile.TemporaryFile() as errors:
        child = subprocess.Popen(_CHILD, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=errors)
        with child:
            assert child.stdin is not None
            assert child.stdout is not None
            with suppress(BrokenPipeError):  # it died at once: its exit code and last words say why
                child.stdin.write(json.dumps(_plain(job)).encode() + b"\n")
                child.stdin.flush()
            out = child.stdout.read()
        errors.seek(0)
        said = errors.read().decode(errors="replace").strip().splitlines()
    if child.returncode == 0 and out.strip():
        answer: dict[str, Any] = json.loads(out.splitlines()[-1])
        return answer, ""
    last = (said or ["no message"])[-1]
    ended = f"signal {-child.returncode}" if child.returncode < 0 else f"exit code {child.returncode}"
    return None, f"its process ended with {ended}, {TRIES} times: {last[:300]}"


def _plain(job: SweepJob) -> dict[str, object]:
    return {**asdict(job), "output": str(job.output)}
