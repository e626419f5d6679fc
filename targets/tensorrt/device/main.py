"""Builds, proves and times this bundle's engines on the device; JSON on stdout, progress on stderr."""

import argparse
import json
import os
import sys

import engine
import golden
import timing
from bundle import Bundle
from detect import detect
from failure import Failure, printable
from trtexec import find_trtexec

HERE = os.path.dirname(os.path.abspath(__file__))
SCHEMA = "edgekit.device-measurements/1"
STEPS = ("detect", "build", "compare", "time", "all")
LATENCIES = ("mean", "p50", "p90", "p95", "p99", "min", "max", "std")


def main(arguments=None):
    """Exit status: 0 done, 1 failed (one line on stderr), 2 wrong usage (argparse)."""
    options = parse(arguments)
    try:
        result = run(options)
    except Failure as failure:
        print("error: %s" % printable(str(failure), 2000), file=sys.stderr)
        return 1
    json.dump(result, sys.stdout, indent=2, sort_keys=True, allow_nan=False)
    print()
    return 0


def parse(arguments):
    bundle = os.path.dirname(HERE)
    home = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    parser = argparse.ArgumentParser(prog="run.sh", description=__doc__)
    parser.add_argument("step", nargs="?", choices=STEPS, default="all", help="default: all")
    parser.add_argument("--component", help="only this component (default: every one)")
    parser.add_argument("--variant", help="only this variant (default: every one)")
    parser.add_argument("--bundle", default=bundle, help="the bundle's folder (default: the one around this)")
    parser.add_argument("--cache", default=os.path.join(home, "edgekit", "tensorrt"), help="engines go here")
    parser.add_argument("--rounds", type=_positive, default=5, help="timing rounds (default: 5)")
    parser.add_argument("--seconds", type=_positive, default=3, help="timed seconds a round (default: 3)")
    parser.add_argument("--soak", type=_positive, help="then run the first variant on for this many seconds")
    parser.add_argument("--accept-version", help="go on with this older TensorRT, MAJOR.MINOR")
    return parser.parse_args(arguments)


def _positive(text):
    number = int(text)
    if not 1 <= number <= 86400:
        raise argparse.ArgumentTypeError("must be 1..86400")
    return number


def run(options):
    """The whole job as one JSON-able dict."""
    facts = detect()
    if options.step == "detect":
        return {"schema": SCHEMA, "device": facts, "notes": [], "measurements": []}
    bundle = Bundle(options.bundle)
    trtexec = find_trtexec()
    facts["tensorrt"] = trtexec.version_text()
    notes = check_version(bundle.job, trtexec.version, options.accept_version)
    measurements, rounds, layers = [], [], []
    for component in selected(bundle.job["components"], options.component, "component"):
        specs = [resolve(bundle, entry) for entry in selected(component["variants"], options.variant, "variant")]
        name = component["name"]
        engines = build(trtexec, specs, facts, options.cache, notes)
        if options.step in ("compare", "all"):
            measurements += compare(trtexec, name, engines, bundle.golden(name))
        if options.step in ("time", "all"):
            measurements += time(trtexec, name, engines, options, notes, rounds)
            layers += time_layers(trtexec, name, engines)
    where = "%s, %s, TensorRT %s" % (facts["board"] or "unknown board", facts["gpu"] or "unknown GPU", facts["tensorrt"])
    where += ", power mode %s" % (facts["power_mode"] or "unknown")
    for entry in measurements:
        entry["basis"] += "; " + where
    return {
        "schema": SCHEMA,
        "bundle": bundle.digest,
        "device": facts,
        "notes": notes,
        "measurements": measurements,
        "rounds": rounds,
        "layers": layers,
    }


def check_version(job, version, accepted):
    """Notes about the TensorRT that is here; refuses one older than the bundle was made for."""
    wanted, here = job["version"], version[: len(job["version"])]
    shown = ".".join(str(part) for part in wanted)
    if here < wanted and accepted != "%d.%d" % version[:2]:
        raise Failure(
            "this bundle was made for TensorRT %s (%s), and here is %d.%d.%d" % ((shown, job["software"]) + version),
            "convert again with --target DEVICE@SOFTWARE for this release, or go on with --accept-version %d.%d"
            % version[:2],
        )
    notes = []
    if here != wanted:
        notes.append("made for TensorRT %s, run on %d.%d.%d" % ((shown,) + version))
    if version[0] >= 11:
        notes.append("TensorRT 11 takes types from the ONNX file: float layers of the int8 file run in FP32")
    return notes


def selected(entries, wanted, kind):
    """Those entries that an option names, all without one."""
    key = "name" if kind == "component" else "variant"
    found = [entry for entry in entries if wanted is None or entry[key] == wanted]
    if not found:
        known = ", ".join(str(entry[key]) for entry in entries)
        raise Failure("this bundle has no %s %r" % (kind, wanted), "it has: %s" % known)
    return found


def resolve(bundle, entry):
    """One variant with the checked paths of its files, the model first."""
    files = [bundle.file(name) for name in entry["files"]]
    return {"variant": entry["variant"], "model": files[0], "files": files, "inputs": entry["inputs"]}


def build(trtexec, specs, facts, cache, notes):
    """[(spec, engine path)] in the order of `specs`."""
    found = []
    for spec in specs:
        say("%s: building the %s engine" % (os.path.basename(spec["model"]), spec["variant"]))
        path, how = engine.build_engine(trtexec, spec, facts, cache)
        say("  %s: %s" % (how, path))
        found.append((spec, path))
    if facts["compute_capability"] is None:
        notes.append("the CUDA driver named no GPU: engines are built afresh each time")
    return found


def compare(trtexec, component, engines, samples):
    """Parity of each engine with the golden outputs: the worst over the samples."""
    rows = []
    for spec, path in engines:
        say("%s %s: comparing with the golden outputs" % (component, spec["variant"]))
        for against, outputs in sorted(golden.compare_golden(trtexec, path, spec, samples).items()):
            for name, figures in sorted(outputs.items()):
                place = "%s/%s/parity/%s/%s" % (component, spec["variant"], against, name)
                for metric, unit in (("sqnr_db", "dB"), ("cosine", ""), ("max_abs", "")):
                    basis = "worst golden sample, engine against " + against
                    if figures[metric] is None:
                        basis += " (equal in every value: no noise)"
                    rows.append(measured("%s/%s" % (place, metric), figures[metric], unit, basis))
    return rows


def time(trtexec, component, engines, options, notes, rounds):
    """GPU compute latency of each variant, timed in turns; when each ran is added to `rounds`."""
    say("%s: timing %s in turns" % (component, ", ".join(spec["variant"] for spec, _ in engines)))
    found = timing.time_variants(trtexec, engines, options.rounds, options.seconds)
    flags = " ".join(timing.pinned_flags(trtexec)) or "no pinned flags"
    basis = "trtexec GPU compute time, %d alternating rounds of %d s, %d ms warm-up apart, %s" % (
        options.rounds, options.seconds, timing.WARM_UP_MS, flags,
    )
    rows = []
    for variant, figures in found.items():
        rounds += [dict(window, component=component, variant=variant) for window in figures["windows"]]
        place = "%s/%s/latency" % (component, variant)
        rows += [measured("%s/%s" % (place, key), figures["latency"][key], "ms", basis) for key in LATENCIES]
        rows.append(measured(place + "/count", figures["latency"]["count"], "runs", basis))
        rows.append(measured(place + "/warm_up_count", figures["warm_up"]["count"], "runs", basis))
        rows.append(measured(place + "/warm_up_mean", figures["warm_up"]["mean"], "ms", basis))
    rows += soak(trtexec, component, engines, options)
    if "int8" in found and "fp16" in found:
        int8, fp16 = found["int8"]["latency"]["p50"], found["fp16"]["latency"]["p50"]
        if int8 >= fp16:
            notes.append("%s: INT8 (p50 %.3f ms) is not faster than FP16 (p50 %.3f ms) here" % (component, int8, fp16))
    else:
        notes.append("%s: INT8 and FP16 were not timed side by side" % component)
    return rows


def soak(trtexec, component, engines, options):
    """Burst and sustained latency of the first variant over one long run."""
    if not options.soak:
        return []
    spec, path = engines[0]
    say("%s %s: soaking for %d s" % (component, spec["variant"], options.soak))
    found = timing.time_soak(trtexec, spec, path, options.soak)
    basis = "trtexec GPU compute time, soak of %d s, mean of its first and last tenth" % options.soak
    place = "%s/%s/soak" % (component, spec["variant"])
    return [measured("%s/%s" % (place, name), found[name], "ms", basis) for name in ("burst", "sustained")]


def time_layers(trtexec, component, engines):
    """Rows of every engine's layers."""
    rows = []
    for spec, path in engines:
        found = timing.time_layers(trtexec, spec, path)
        rows += [dict(row, component=component, variant=spec["variant"]) for row in found]
    return rows


def measured(metric, value, unit, basis):
    return {"metric": metric, "value": value, "unit": unit, "kind": "measured", "basis": basis}


def say(text):
    print(printable(text), file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
