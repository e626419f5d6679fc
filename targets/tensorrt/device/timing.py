"""Times engines side by side: rounds that alternate between them, warm-up counted apart."""

import math
import os
import tempfile

from engine import is_dynamic, shapes
from failure import Failure
from trtexec import read_json

WARM_UP_MS = 500.0
# Their defaults differ between TensorRT versions, so they are always said.
PINNED = ("--noDataTransfers", "--useCudaGraph", "--useSpinWait")


def time_variants(trtexec, specs, rounds, seconds):
    """{variant: {"latency": stats in ms, "warm_up": {"count", "mean"}, "rounds": means}}.

    `specs`: [(spec, engine path)]. Odd rounds go through them in reverse, so that heat and clocks
    fall on all alike.
    """
    kept = {spec["variant"]: [] for spec, _ in specs}
    warm = {spec["variant"]: [] for spec, _ in specs}
    means = {spec["variant"]: [] for spec, _ in specs}
    for number in range(rounds):
        for spec, engine in specs if number % 2 == 0 else reversed(specs):
            early, late = split_warm_up(_run(trtexec, spec, engine, seconds))
            if not late:
                raise Failure("no run was left after the warm-up", "give a longer --seconds")
            warm[spec["variant"]] += early
            kept[spec["variant"]] += late
            means[spec["variant"]].append(sum(late) / len(late))
    return {
        name: {
            "latency": statistics(times),
            "warm_up": {"count": len(warm[name]), "mean": sum(warm[name]) / len(warm[name]) if warm[name] else None},
            "rounds": means[name],
        }
        for name, times in kept.items()
    }


def pinned_flags(trtexec):
    """Those of PINNED that this trtexec knows."""
    return [flag for flag in PINNED if flag in trtexec.flags]


def _run(trtexec, spec, engine, seconds):
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = os.path.join(folder, "times.json")
        duration = int(math.ceil(seconds + WARM_UP_MS / 1000.0))
        arguments = ["--loadEngine=" + engine, "--exportTimes=" + path]
        arguments += ["--warmUp=0", "--duration=%d" % duration, "--iterations=10"]
        if is_dynamic(spec["inputs"]):
            arguments.append("--shapes=" + shapes(spec["inputs"], "opt"))
        trtexec.run(arguments + pinned_flags(trtexec))
        return read_json(path)


def split_warm_up(data):
    """(warm-up, kept) GPU compute times in ms of trtexec's --exportTimes list."""
    broken = Failure("trtexec's times file has an unknown form", "use a trtexec of TensorRT 8.4 or later")
    if not isinstance(data, list) or not data:
        raise broken
    runs = []
    for entry in data:
        if not isinstance(entry, dict):
            raise broken
        start = entry.get("startEnqMs", entry.get("startComputeMs"))
        time = entry.get("computeMs")
        for value in (start, time):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise broken
        if time <= 0:
            raise broken
        runs.append((float(start), float(time)))
    first = min(start for start, _ in runs)
    early = [time for start, time in runs if start - first < WARM_UP_MS]
    late = [time for start, time in runs if start - first >= WARM_UP_MS]
    return early, late


def statistics(times):
    """mean, p50, p90, p95, p99 (linear between ranks), min, max, std (of the population), count."""
    ordered = sorted(times)
    mean = sum(ordered) / len(ordered)
    variance = sum((time - mean) ** 2 for time in ordered) / len(ordered)
    found = {"mean": mean, "min": ordered[0], "max": ordered[-1], "std": math.sqrt(variance)}
    for rank in (50, 90, 95, 99):
        found["p%d" % rank] = _percentile(ordered, rank)
    found["count"] = len(ordered)
    return found


def _percentile(ordered, rank):
    place = (len(ordered) - 1) * rank / 100.0
    low = int(math.floor(place))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
