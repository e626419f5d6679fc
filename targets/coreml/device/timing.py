"""Times models side by side: rounds that alternate between them, warm-up counted apart."""

import math
import time


def time_side_by_side(runs, rounds, repeats, warm_up):
    """{name: {"warm_up": [ms], "latency": [ms]}} of `runs`, {name: function}.

    Every round goes through all of them, odd rounds backwards, so that heat and clocks fall on all alike;
    each turn begins with `warm_up` runs that are kept apart and then times `repeats`.
    """
    found = {name: {"warm_up": [], "latency": []} for name in runs}
    for number in range(rounds):
        for name in list(runs) if number % 2 == 0 else list(reversed(list(runs))):
            found[name]["warm_up"] += [time_once(runs[name]) for _ in range(warm_up)]
            found[name]["latency"] += [time_once(runs[name]) for _ in range(repeats)]
    return found


def time_once(run):
    """Milliseconds of one run."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def statistics(times):
    """mean, p50, p90, p95, p99 (linear between ranks), min, max, std (of the population), count."""
    ordered = sorted(times)
    mean = sum(ordered) / len(ordered)
    variance = sum((one - mean) ** 2 for one in ordered) / len(ordered)
    found = {"mean": mean, "min": ordered[0], "max": ordered[-1], "std": math.sqrt(variance)}
    for rank in (50, 90, 95, 99):
        found[f"p{rank}"] = _percentile(ordered, rank)
    found["count"] = len(ordered)
    return found


def _percentile(ordered, rank):
    place = (len(ordered) - 1) * rank / 100.0
    low = int(math.floor(place))
    high = min(low + 1, len(ordered) - 1)
    return ordered[low] + (ordered[high] - ordered[low]) * (place - low)
