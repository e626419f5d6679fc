"""Samples powermetrics while something runs. It needs root, and no password is ever asked for or taken here."""

import re
import subprocess
import tempfile
import time

from failure import Failure, printable

INTERVAL_MS = 200
# The ANE line is only printed beside cpu_power on some chips.
COMMAND = ["sudo", "-n", "powermetrics", "--samplers", "cpu_power,gpu_power,ane_power", "-i", str(INTERVAL_MS)]
RAILS = {"cpu": "CPU Power", "gpu": "GPU Power", "neural-engine": "ANE Power", "combined": r"Combined Power \([^)]*\)"}
BLOCK = re.compile(r"^\*\*\* Sampled system activity .*?\((?P<ms>[\d.]+)ms elapsed\) \*\*\*$", re.MULTILINE)


def parse_samples(text):
    """[{"ms": length, rail: mW}] of powermetrics' text; a rail that a sample lacks is left out of it."""
    marks = list(BLOCK.finditer(text))
    samples = []
    for index, mark in enumerate(marks):
        end = marks[index + 1].start() if index + 1 < len(marks) else len(text)
        sample = {"ms": float(mark.group("ms"))}
        for rail, words in RAILS.items():
            found = re.search(rf"^{words}: *([\d.]+) *(m?W)\b", text[mark.end() : end], re.MULTILINE)
            if found:
                sample[rail] = float(found.group(1)) * (1.0 if found.group(2) == "mW" else 1000.0)
        samples.append(sample)
    return samples


def mean_power(samples):
    """{rail: mean mW over time} of the samples but the first, in which the load had not begun."""
    kept = samples[1:]
    found = {}
    for rail in RAILS:
        known = [(sample["ms"], sample[rail]) for sample in kept if rail in sample]
        if known:
            found[rail] = sum(ms * power for ms, power in known) / sum(ms for ms, _ in known)
    return found


def sample_while(run, seconds, command=COMMAND):
    """({rail: mW}, runs done) while `run` is called again and again; None: while nothing is done."""
    count = max(3, int(seconds * 1000 / INTERVAL_MS))
    with tempfile.TemporaryFile("w+", errors="replace") as out, tempfile.TemporaryFile("w+", errors="replace") as err:
        try:
            process = subprocess.Popen(
                command + ["-n", str(count)], stdin=subprocess.DEVNULL, stdout=out, stderr=err
            )
        except OSError as error:
            raise Failure(f"{command[0]} cannot be run ({error.strerror})", "measure power on a Mac")
        done = _run_until(process, run, time.monotonic() + seconds * 3 + 10)
        out.seek(0)
        err.seek(0)
        power, said = mean_power(parse_samples(out.read())), err.read(2000).strip()
    if process.returncode != 0 or not power:
        raise Failure(
            f"powermetrics gave no figures ({printable(said) or 'no reason given'})",
            "run `sudo -v` in this terminal first; the script never asks for a password",
        )
    return power, done


def _run_until(process, run, limit):
    """Calls `run` until the process ends; returns how often. A process that outlives `limit` is ended."""
    done = 0
    try:
        while process.poll() is None:
            if time.monotonic() > limit:
                raise Failure("powermetrics did not end in time", "close other programs and try again")
            if run is None:
                time.sleep(0.05)
            else:
                run()
                done += 1
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait()
    return done
