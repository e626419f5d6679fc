"""Times engines side by side: rounds that alternate between them, warm-up counted apart."""

import math
import os
import tempfile
import time

from engine import is_dynamic, shapes
from failure import Failure, printable
from trtexec import read_json

WARM_UP_MS = 500.0
# Their defaults differ between TensorRT versions, so they are always said.
PINNED = ("--noDataTransfers", "--useCudaGraph", "--useSpinWait")


def time_variants(trtexec, specs, rounds, seconds):
    """{variant: {"latency": stats in ms, "warm_up": {"count", "mean"}, "rounds": means, "windows": [...]}}.

    A window is {"start", "end", "count"}: when the timed runs ran, in s of this system's steady clock, by which
    power samples are told apart. `specs`: [(spec, engine path)]. Odd rounds go through them in reverse, so that
    heat and clocks fall on all alike.
    """
    kept = {spec["variant"]: [] for spec, _ in specs}
    warm = {spec["variant"]: [] for spec, _ in specs}
    means = {spec["variant"]: [] for spec, _ in specs}
    windows = {spec["variant"]: [] for spec, _ in specs}
    for number in range(rounds):
        for spec, engine in specs if number % 2 == 0 else reversed(specs):
            early, late, window = _run(trtexec, spec, engine, seconds)
            warm[spec["variant"]] += early
            kept[spec["variant"]] += late
            means[spec["variant"]].append(sum(late) / len(late))
            windows[spec["variant"]].append(window)
    return {
        name: {
            "latency": statistics(times),
            "warm_up": {"count": len(warm[name]), "mean": sum(warm[name]) / len(warm[name]) if warm[name] else None},
            "rounds": means[name],
            "windows": windows[name],
        }
        for name, times in kept.items()
    }


def pinned_flags(trtexec):
    """Those of PINNED that this trtexec knows."""
    return [flag for flag in PINNED if flag in trtexec.flags]


def _run(trtexec, spec, engine, seconds):
    """(warm-up, kept) GPU compute times in ms, and the window of the kept ones; Failure where none is kept."""
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = os.path.join(folder, "times.json")
        duration = int(math.ceil(seconds + WARM_UP_MS / 1000.0))
        arguments = _load(spec, engine) + ["--exportTimes=" + path]
        arguments += ["--warmUp=0", "--duration=%d" % duration, "--iterations=10"]
        trtexec.run(arguments + pinned_flags(trtexec))
        # trtexec writes the file once it is done, before it takes down what it built up.
        written = time.monotonic() - (time.time() - os.path.getmtime(path))
        data = read_json(path)
    early, late = split_warm_up(data)
    if not late:
        raise Failure("no run was left after the warm-up", "give it more seconds")
    return early, late, find_window(data, written, len(late))


def _load(spec, engine):
    """Arguments that load an engine, at its inputs' usual shapes where they are open."""
    sizes = ["--shapes=" + shapes(spec["inputs"], "opt")] if is_dynamic(spec["inputs"]) else []
    return ["--loadEngine=" + engine] + sizes


def find_window(data, written, count):
    """When the runs behind the warm-up ran, seen back from the moment at which their times were written."""
    starts = [float(entry.get("startEnqMs", entry.get("startComputeMs"))) for entry in data]
    span = (max(starts) + data[-1]["computeMs"] - min(starts) - WARM_UP_MS) / 1000.0
    return {"start": written - max(0.0, span), "end": written, "count": count}


def time_soak(trtexec, spec, engine, seconds):
    """{"burst", "sustained"}: mean ms of the first and the last tenth of one long run, warm-up apart."""
    _, late, _ = _run(trtexec, spec, engine, seconds)
    part = max(1, len(late) // 10)
    return {"burst": sum(late[:part]) / part, "sustained": sum(late[-part:]) / part}


def time_layers(trtexec, spec, engine):
    """[{"name", "us"}] of trtexec's profile by layer, in a run of its own; [] where it knows no such flag."""
    if "--exportProfile" not in trtexec.flags:
        return []
    with tempfile.TemporaryDirectory(prefix="edgekit-") as folder:
        path = os.path.join(folder, "profile.json")
        arguments = _load(spec, engine) + ["--exportProfile=" + path, "--dumpProfile", "--iterations=10"]
        arguments += [flag for flag in ("--separateProfileRun", "--noDataTransfers") if flag in trtexec.flags]
        trtexec.run(arguments)
        return read_layers(read_json(path))


def read_layers(data):
    """Rows of [{"count": N}, {"name", "averageMs", "medianMs", ...}, ...], the median where it is told."""
    rows = []
    for entry in _entries(data, _unknown_form("profile")):
        ms = entry.get("medianMs", entry.get("averageMs"))
        if "name" in entry and isinstance(ms, (int, float)) and math.isfinite(ms) and ms >= 0:
            rows.append({"name": printable(str(entry["name"]), 400), "us": ms * 1000.0})
    return rows


def _unknown_form(file):
    return Failure("trtexec's %s file has an unknown form" % file, "use a trtexec of TensorRT 8.4 or later")


def _entries(data, broken):
    """The objects of the list that trtexec wrote; `broken` where it is none."""
    if not isinstance(data, list) or not all(isinstance(entry, dict) for entry in data):
        raise broken
    return data


def split_warm_up(data):
    """(warm-up, kept) GPU compute times in ms of trtexec's --exportTimes list."""
    broken = _unknown_form("times")
    runs = []
    for entry in _entries(data, broken):
        start = entry.get("startEnqMs", entry.get("startComputeMs"))
        took = entry.get("computeMs")
        for value in (start, took):
            if not isinstance(value, (int, float)) or not math.isfinite(value):
                raise broken
        if took <= 0:
            raise broken
        runs.append((float(start), float(took)))
    if not runs:
        raise broken
    first = min(start for start, _ in runs)
    early = [took for start, took in runs if start - first < WARM_UP_MS]
    late = [took for start, took in runs if start - first >= WARM_UP_MS]
    return early, late


def statistics(times):
    """mean, p50, p90, p95, p99 (linear between ranks), min, max, std (of the population), count."""
    ordered = sorted(times)
    mean = sum(ordered) / len(ordered)
    variance = sum((took - mean) ** 2 for took in ordered) / len(ordered)
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
