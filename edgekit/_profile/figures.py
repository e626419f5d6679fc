"""Latencies, memory and load times as measurements: what was heard of one artifact."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._results import Measurement

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from edgekit._profile.heard import Round, WorkerHeard

PERCENTILES = (50, 90, 95, 99)
_MEMORY_BASIS = "{runtime}; peak RSS of the process, {tool} own included"
_THROTTLED = 0.1
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


def _is_told(worker: WorkerHeard) -> bool:
    return any(one.told is not None for one in worker.rounds)


def measure_artifact(place: str, worker: WorkerHeard) -> list[Measurement]:
    """The measurements of one artifact, named `<component>/<variant>/...` after `place`."""
    return [
        Measurement(f"{place}/{name}", value, unit, "measured", basis)
        for name, value, unit, basis in _rows(worker)
    ]


def _rows(worker: WorkerHeard) -> Iterator[tuple[str, float, str, str]]:
    runtime = worker.runtime
    ms = timed_ms(worker)
    yield from _told_rows(worker)
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
            _MEMORY_BASIS.format(runtime=runtime, tool="the tool's" if _is_told(worker) else "Python's"),
        )
    yield from _soak_rows(worker)


def _told_rows(worker: WorkerHeard) -> Iterator[tuple[str, float, str, str]]:
    """What a benchmark tool told of its turns: means and spreads are pooled, percentiles are their median."""
    turns = [one.told for one in worker.rounds if one.told and one.told.ms and not one.soak]
    if not turns:
        return
    count = sum(one.count for one in turns)
    basis = f"{worker.runtime}; {count} runs in {len(turns)} turns, each its own process with a warm-up apart"
    mean = sum(one.ms["mean"] * one.count for one in turns) / count
    yield "latency/mean", mean, "ms", basis
    yield "latency/min", min(one.ms.get("min", math.inf) for one in turns), "ms", basis
    yield "latency/max", max(one.ms.get("max", 0.0) for one in turns), "ms", basis
    if all("std" in one.ms for one in turns):
        spread = sum(one.count * (one.ms["std"] ** 2 + (one.ms["mean"] - mean) ** 2) for one in turns)
        yield "latency/std", math.sqrt(spread / count), "ms", basis
    for name in (f"p{rank}" for rank in PERCENTILES):
        if all(name in one.ms for one in turns):
            told = float(np.median([one.ms[name] for one in turns]))
            yield f"latency/{name}", told, "ms", f"{basis}; the median of the turns' {name}"
    yield "latency/count", float(count), "runs", basis
    yield "throughput", 1e3 / mean if mean else math.inf, "runs/s", f"{basis}; one after the other"


def _soak_rows(worker: WorkerHeard) -> Iterator[tuple[str, float, str, str]]:
    rounds = [one for one in worker.rounds if one.soak and one.count]
    if len(rounds) < 2:
        return
    part = max(1, int(len(rounds) * _BURST))
    seconds = rounds[-1].end - rounds[0].start
    basis = f"{worker.runtime}; soak of {seconds:.0f} s"
    burst = _mean_ms(rounds[:part])
    for name, mean in (("burst", burst), ("sustained", _mean_ms(rounds[-part:]))):
        yield f"soak/{name}", mean, "ms", f"{basis}, mean of its {part} {name} rounds"
    slow = [one.mean_ms > burst * (1 + _THROTTLED) for one in rounds]
    if slow[-1]:
        first = len(slow) - slow[::-1].index(False) if False in slow else 0
        told = f"{basis}: from then on every round was {100 * _THROTTLED:.0f} % slower than the burst"
        yield "soak/time_to_throttle", rounds[first].start - rounds[0].start, "s", told


def _mean_ms(rounds: Sequence[Round]) -> float:
    return sum(one.mean_ms * one.count for one in rounds) / sum(one.count for one in rounds)
