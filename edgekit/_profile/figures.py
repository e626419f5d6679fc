"""Latencies, memory and load times as measurements: what was heard of one artifact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._values import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._profile.heard import WorkerHeard

PERCENTILES = (50, 90, 95, 99)
_BURST = 0.1  # the first and last tenth of a soak are its burst and its sustained part


def latency_statistics(ms: Sequence[float]) -> dict[str, float]:
    """mean, p50, p90, p95, p99 (linear between ranks), min, max and std (of the population), in ms."""
    values = np.asarray(ms, np.float64)
    found = {"mean": float(values.mean())}
    for rank, value in zip(PERCENTILES, np.percentile(values, PERCENTILES), strict=True):
        found[f"p{rank}"] = float(value)
    return found | {"min": float(values.min()), "max": float(values.max()), "std": float(values.std())}


def timed_ms(worker: WorkerHeard) -> tuple[float, ...]:
    """Every timed run but the soak's, in order."""
    return tuple(ns / 1e6 for one in worker.rounds if not one.soak for ns in one.ns)


def measure_artifact(place: str, worker: WorkerHeard) -> list[Measurement]:
    """The measurements of one artifact, named `<component>/<variant>/...` after `place`."""
    return [
        Measurement(f"{place}/{name}", value, unit, "measured", basis)
        for name, value, unit, basis in _rows(worker)
    ]


def _rows(worker: WorkerHeard) -> Iterator[tuple[str, float, str, str]]:
    runtime = worker.runtime
    ms = timed_ms(worker)
    if ms:
        basis = (
            f"{runtime}; {len(ms)} runs in {sum(not one.soak for one in worker.rounds)} turns, warm-up apart"
        )
        for name, value in latency_statistics(ms).items():
            yield f"latency/{name}", value, "ms", basis
        yield "latency/count", float(len(ms)), "runs", basis
        yield "throughput", 1e3 * len(ms) / sum(ms), "runs/s", f"{basis}; one after the other"
        fresh = [one for one in worker.rounds if not one.soak and not one.earlier]
        runs = sum(len(one.ns) for one in fresh)
        cpu = sum(one.cpu_ns for one in fresh) / 1e6 / runs if runs else math.nan
        yield "cpu_time", cpu, "ms", f"{basis}; CPU time of the process over all its threads"
    if worker.warm_up_ns:
        mean = sum(worker.warm_up_ns) / len(worker.warm_up_ns) / 1e6
        yield (
            "latency/warm_up_mean",
            mean,
            "ms",
            f"{runtime}; {len(worker.warm_up_ns)} runs before the timed ones",
        )
    if worker.load_ns is not None:
        yield "load", worker.load_ns / 1e6, "ms", f"{runtime}; from file to session, files just copied"
    if worker.first_run_ns is not None:
        yield "latency/first", worker.first_run_ns / 1e6, "ms", f"{runtime}; the first run after loading"
    if worker.peak_bytes is not None:
        yield (
            "memory/peak",
            float(worker.peak_bytes),
            "B",
            f"{runtime}; peak RSS of the process, Python's own included",
        )
    yield from _soak_rows(worker)


def _soak_rows(worker: WorkerHeard) -> Iterator[tuple[str, float, str, str]]:
    rounds = [one for one in worker.rounds if one.soak and one.ns]
    if len(rounds) < 2:
        return
    part = max(1, int(len(rounds) * _BURST))
    seconds = rounds[-1].end - rounds[0].start
    basis = f"{worker.runtime}; soak of {seconds:.0f} s"
    for name, chosen in (("burst", rounds[:part]), ("sustained", rounds[-part:])):
        ms = [ns / 1e6 for one in chosen for ns in one.ns]
        yield f"soak/{name}", float(np.mean(ms)), "ms", f"{basis}, mean of its {part} {name} rounds"
