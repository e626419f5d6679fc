"""One artifact in one process: loads it, writes its golden outputs, times it. Answers JSON lines.

`python3 worker.py job.json INDEX` in the folder of the bundle's files; commands come on stdin.
Needs numpy and the artifact's runtime.
"""

import importlib
import json
import os
import resource
import sys
import time
import traceback
from array import array

import numpy as np

HERE = os.path.dirname(os.path.abspath(__file__))
#: Runs after which a round of unknown length looks at the clock again.
LEAST_RUNS = 5


class Worker:
    """Holds one loaded artifact and what it is fed."""

    def __init__(self, job, index):
        self.item = job["workers"][index]
        self.index = self.item["index"]
        self.model = None
        self.samples = []

    def load(self):
        """Load and first run apart, as an app feels them."""
        runtime = importlib.import_module(self.item["runtime"])
        self.samples = [_load(sample) for sample in self.item["samples"]]
        start = time.perf_counter_ns()
        self.model = self._open(runtime)
        loaded = time.perf_counter_ns()
        self.model.prepare(self.samples[0])()
        first = time.perf_counter_ns()
        return {
            "load_ns": loaded - start,
            "first_run_ns": first - loaded,
            "runtime": self.model.describe(),
            "placements": self.model.placements() if hasattr(self.model, "placements") else [],
        }

    def _open(self, runtime):
        """The model, on the accelerator that the user named; a runtime that has none refuses one."""
        wanted, known = self.item["accelerator"], getattr(runtime, "ACCELERATORS", ())
        if not wanted:
            return runtime.open_model(self.item["model"], self.item["threads"])
        if wanted not in known:
            raise ValueError("accelerator %r is none of: %s" % (wanted, ", ".join(known) or "(this runtime has none)"))
        return runtime.open_model(self.item["model"], self.item["threads"], wanted)

    def golden(self, samples=None):
        """Each sample's outputs as .npy files beside the job; of the job's own samples, or of these files."""
        written = []
        for number, sample in enumerate(self.samples if samples is None else map(_load, samples)):
            files = {}
            for place, (name, value) in enumerate(sorted(self.model.run(sample).items())):
                files[name] = "outputs-%d-%d-%d.npy" % (self.index, number, place)
                np.save(os.path.join(HERE, files[name]), np.asarray(value), allow_pickle=False)
            written.append(files)
        return {"samples": written}

    def warm_up(self, runs):
        return {"ns": self._time(runs, None)[0]}

    def time(self, runs, seconds):
        ns, cpu_ns = self._time(runs, seconds)
        return {"ns": ns, "cpu_ns": cpu_ns}

    def _time(self, runs, seconds):
        """(ns of each run, CPU ns of this process over all), on the first sample."""
        run = self.model.prepare(self.samples[0])
        clock = time.perf_counter_ns
        times = array("q")
        until = None if seconds is None else clock() + int(seconds * 1e9)
        cpu = time.process_time_ns()
        while True:
            for _ in range(LEAST_RUNS if runs is None else runs):
                start = clock()
                run()
                times.append(clock() - start)
            if until is None or clock() >= until:
                return list(times), time.process_time_ns() - cpu

    def layers(self):
        """Time by layer where the runtime tells it, in a run of its own; else the reason."""
        return self.model.layers(self.samples[0])

    def memory(self):
        return {"peak_bytes": _peak_bytes()}


def _load(files):
    """One sample's arrays by input."""
    return {name: np.load(file, allow_pickle=False) for name, file in files.items()}


def _peak_bytes():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def main(arguments):
    """Answer each command by one line until the pipe closes; a failure is an answer too."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what a runtime prints must not stand among the answers
    with open(arguments[0], encoding="utf-8") as file:
        worker = Worker(json.load(file), int(arguments[1]))
    for line in sys.stdin:
        request = json.loads(line)
        command = request.pop("command")
        try:
            answer = getattr(worker, command)(**request)
        except MemoryError:
            answer = {"error": "out of memory during '%s'" % command}
        except Exception as error:  # whatever a runtime raises is an answer for the user
            traceback.print_exc()
            answer = {"error": "%s: %s: %s" % (command, type(error).__name__, str(error)[:1000])}
        answers.write(json.dumps(answer, allow_nan=False) + "\n")
        answers.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
