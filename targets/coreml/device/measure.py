"""Compiles, proves and times this bundle's Core ML packages on a Mac: python3 mac/measure.py > measurements.json

NOT RUN on a Mac by those who wrote it: every part that needs no Apple software is tested on Linux.
Needs Python 3.9 or later, numpy and coremltools; results on stdout as JSON, progress on stderr.
"""

import argparse
import json
import os
import sys

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, HERE)

import golden  # noqa: E402
import plan  # noqa: E402
import power  # noqa: E402
import timing  # noqa: E402
from bundle import Bundle  # noqa: E402
from core_ml import SETTINGS, CompiledModel, why_not  # noqa: E402
from detect import detect  # noqa: E402
from failure import Failure, printable  # noqa: E402

SCHEMA = "edgekit.device-measurements/1"
STEPS = ("all", "compare", "plan", "time", "power")
FIGURES = {"sqnr_db": "dB", "cosine": "", "max_abs": ""}
LATENCIES = ("mean", "p50", "p90", "p95", "p99", "min", "max", "std")


def main(arguments=None):
    """Exit status: 0 done, 1 something was not measured (it is said), 2 wrong usage (argparse)."""
    options = parse(arguments)
    try:
        result, failures = run(options)
    except Failure as failure:
        say(f"error: {failure}")
        return 1
    json.dump(result, sys.stdout, indent=2, sort_keys=True, allow_nan=False)
    print()
    for failure in failures:
        say(f"error: {failure}")
    return 1 if failures else 0


def parse(arguments):
    parser = argparse.ArgumentParser(prog="measure.py", description=__doc__)
    parser.add_argument("step", nargs="?", choices=STEPS, default="all", help="default: all")
    parser.add_argument("--component", help="only this component (default: every one)")
    parser.add_argument("--variant", help="only this variant (default: every one)")
    parser.add_argument("--units", choices=SETTINGS, action="append", help="only this setting; may be repeated")
    parser.add_argument("--bundle", default=os.path.dirname(HERE), help="default: the one around this script")
    parser.add_argument("--runs", type=_count, default=100, help="timed runs a round (default: 100)")
    parser.add_argument("--rounds", type=_count, default=3, help="rounds over all settings (default: 3)")
    parser.add_argument("--warm-up", type=_count, default=10, help="runs before each round (default: 10)")
    parser.add_argument("--seconds", type=_count, default=5, help="of power sampling a setting (default: 5)")
    return parser.parse_args(arguments)


def _count(text):
    number = int(text)
    if not 1 <= number <= 100000:
        raise argparse.ArgumentTypeError("must be 1..100000")
    return number


def run(options):
    """(the JSON-able result, what failed). A step that fails leaves rows that say "not measured"."""
    bundle = Bundle(options.bundle)
    artifacts = [one for one in bundle.artifacts if _is_wanted(one, options)]
    if not artifacts:
        raise Failure("no package of this bundle has that component and variant", "leave the options out")
    settings = tuple(dict.fromkeys(options.units or SETTINGS))
    facts, problem = detect(), why_not()
    rows, failures = [], [problem] if problem else []
    for artifact in artifacts:
        measured = Rows(f"{artifact.component}/{artifact.variant}")
        if problem is None:
            failures += measure(measured, artifact, bundle, options, settings)
        else:
            measured.leave_out(options.step, artifact, settings, problem)
        rows += measured.rows
    where = ", ".join(str(facts[key] or f"unknown {key}") for key in ("model", "chip"))
    where += f", macOS {facts['macos'] or 'unknown'}"
    for row in rows:
        row["basis"] = printable(f"{row['basis']}; {where}", 2000)
    notes = [f"figures are this machine's; the bundle was made for {printable(bundle.device)}"]
    return (
        {"schema": SCHEMA, "bundle": bundle.digest, "device": facts, "notes": notes, "measurements": rows},
        failures,
    )


def _is_wanted(artifact, options):
    return options.component in (None, artifact.component) and options.variant in (None, artifact.variant)


def measure(rows, artifact, bundle, options, settings):
    """Fills `rows`; returns the Failures, each of which left its rows as not measured."""
    say(f"{artifact}: compiling")
    samples = bundle.golden(artifact.component)
    try:
        model = CompiledModel(artifact.path)
    except Failure as failure:
        rows.leave_out(options.step, artifact, settings, failure)
        return [failure]
    rows.add("compile", model.compile_ms, "ms", "coremltools' compile_model, once")
    failures, runs = [], {}
    try:
        for setting in settings:
            try:
                loaded, ms = model.load(setting)
                rows.add(f"{setting}/load", ms, "ms", "first load for this setting; may hold specialization")
                feeds, states = golden.load_feeds(artifact, samples[0]), golden.load_states(artifact, samples[0])
                runs[setting] = loaded.prepare(feeds, states)
                if options.step in ("all", "compare"):
                    add_parity(rows, setting, golden.compare_golden(artifact, samples, loaded))
                if options.step in ("all", "plan"):
                    add_plan(rows, setting, plan.count_operations(model.plan(setting)))
            except Failure as failure:
                failures.append(failure)
                rows.leave_out(options.step, artifact, (setting,), failure)
        if options.step in ("all", "time") and runs:
            say(f"{artifact}: timing {', '.join(runs)}")
            failures += add_times(rows, runs, options)
        if options.step in ("all", "power") and runs:
            failures += add_power(rows, runs, options)
    finally:
        model.close()
    return failures


def add_parity(rows, setting, worst):
    for (against, output), figures in worst.items():
        for name, unit in FIGURES.items():
            basis = "worst golden sample" + ("; equal, no noise" if figures[name] is None else "")
            rows.add(f"{setting}/parity/{against}/{output}/{name}", figures[name], unit, basis)


def add_plan(rows, setting, counted):
    basis = "MLComputePlan: what Core ML means to use, not what ran"
    for unit in ("neural-engine", "gpu", "cpu", "unknown"):
        row = counted.get(unit, {"ops": 0, "cost": 0.0, "names": {}})
        common = sorted(row["names"].items(), key=lambda entry: -entry[1])[:5]
        which = "".join(f", {count} {name}" for name, count in common)
        rows.add(f"{setting}/plan/{unit}/ops", row["ops"], "operations", basis + which)
        rows.add(f"{setting}/plan/{unit}/cost", row["cost"], "share", basis)


def add_times(rows, runs, options):
    basis = f"wall time of predict, {options.rounds} alternating rounds of {options.runs}, warm-up apart"
    try:
        found = timing.time_side_by_side(runs, options.rounds, options.runs, options.warm_up)
    except Failure as failure:
        for setting in runs:
            rows.skip(f"{setting}/latency/p50", "ms", failure)
        return [failure]
    for setting, times in found.items():
        latency, warm = timing.statistics(times["latency"]), timing.statistics(times["warm_up"])
        for name in LATENCIES:
            rows.add(f"{setting}/latency/{name}", latency[name], "ms", basis)
        rows.add(f"{setting}/latency/count", latency["count"], "runs", basis)
        rows.add(f"{setting}/latency/warm_up_count", warm["count"], "runs", basis)
        rows.add(f"{setting}/latency/warm_up_mean", warm["mean"], "ms", basis)
    return []


def add_power(rows, runs, options):
    basis = f"mean of powermetrics over {options.seconds} s, the whole machine's"
    try:
        idle, _ = power.sample_while(None, options.seconds)
        for rail, milliwatts in idle.items():
            rows.add(f"idle/power/{rail}", milliwatts, "mW", basis)
        for setting, run_once in runs.items():
            busy, done = power.sample_while(run_once, options.seconds)
            for rail, milliwatts in busy.items():
                rows.add(f"{setting}/power/{rail}", milliwatts, "mW", f"{basis}, {done} runs")
    except Failure as failure:
        for setting in runs:
            rows.skip(f"{setting}/power/combined", "mW", failure)
        return [failure]
    return []


class Rows:
    """Measurements of one artifact: metric, value, unit, kind and basis."""

    def __init__(self, place):
        self.place = place
        self.rows = []

    def add(self, metric, value, unit, basis):
        self._put(metric, value, unit, "measured", basis)

    def skip(self, metric, unit, failure):
        self._put(metric, None, unit, "unknown", f"not measured: {failure}")

    def leave_out(self, step, artifact, settings, failure):
        """Say of each figure of the step that it was not measured, and why; figures that are there stay."""
        for setting in settings:
            if step in ("all", "compare"):
                for row in artifact.outputs:
                    self.skip(f"{setting}/parity/fp32/{row.source}/sqnr_db", "dB", failure)
            if step in ("all", "plan"):
                self.skip(f"{setting}/plan/neural-engine/ops", "operations", failure)
            if step in ("all", "time"):
                self.skip(f"{setting}/latency/p50", "ms", failure)
            if step in ("all", "power"):
                self.skip(f"{setting}/power/combined", "mW", failure)

    def _put(self, metric, value, unit, kind, basis):
        name = printable(f"{self.place}/{metric}", 1000)
        if all(row["metric"] != name for row in self.rows):
            self.rows.append({"metric": name, "value": value, "unit": unit, "kind": kind, "basis": basis})


def say(text):
    print(printable(text, 2000), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
