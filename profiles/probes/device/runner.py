"""Times a bundle's artifacts side by side on this device; one JSON event a line on stdout.

`python3 .edgekit/runner.py .edgekit/job.json` in the folder of the bundle's files.
Standard library of Python 3.8; each artifact runs in a worker process of its own, which has the runtime.
"""

import json
import os
import select
import shutil
import subprocess
import sys
import threading
import time

import facts
import sensors

HERE = os.path.dirname(os.path.abspath(__file__))
LOAD_S = 600.0
MEMORY_S = 60.0
SHOWN = 2000
ALIVE_S = 10.0
MOST_PRINTED = 8 << 20


class Failure(Exception):
    """What stopped the run, in words for the user."""


class Worker:
    """One artifact in a process of its own, told what to do by lines on a pipe."""

    def __init__(self, job_path, place, item):
        self.index = item["index"]
        self.name = "%s %s" % (item["component"], item["variant"])
        command = [sys.executable, "-B", os.path.join(HERE, "worker.py"), job_path, str(place)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0
        )
        self.errors = []
        self.pending = b""
        self.run_s = 0.0
        reader = threading.Thread(target=self._keep_errors, daemon=True)
        reader.start()

    def _keep_errors(self):
        for line in iter(self.process.stderr.readline, b""):
            self.errors = (self.errors + [line.decode("utf-8", "replace").rstrip()])[-20:]

    def ask(self, command, patience_s, **details):
        """The worker's answer; Failure where it dies, answers nonsense or stays silent for `patience_s`."""
        request = json.dumps(dict(details, command=command)) + "\n"
        try:
            self.process.stdin.write(request.encode())
        except OSError:
            self._died()
        answer = self._read_line(time.monotonic() + patience_s, command, patience_s)
        try:
            found = json.loads(answer.decode())
        except ValueError:
            raise Failure("%s: the runtime printed %r" % (self.name, answer[:80]))
        if "error" in found:
            raise Failure("%s: %s" % (self.name, found["error"]))
        return found

    def _read_line(self, until, command, patience_s):
        while b"\n" not in self.pending:
            left = until - time.monotonic()
            ready = left > 0 and select.select([self.process.stdout], [], [], left)[0]
            if not ready:
                raise Failure("%s: no answer to '%s' in %d s; the runtime hangs" % (self.name, command, patience_s))
            more = os.read(self.process.stdout.fileno(), 1 << 16)
            if not more:
                self._died()
            self.pending += more
        line, self.pending = self.pending.split(b"\n", 1)
        return line

    def _died(self):
        code = self.process.wait()
        told = self.errors[-1] if self.errors else "it said nothing"
        raise Failure("%s: the runtime's process ended (status %d): %s" % (self.name, code, told))

    def stop(self):
        """End the process, whatever it does."""
        self.process.kill()
        self.process.wait()


_printing = threading.Lock()


def emit(event, **details):
    """One event, whole, at once."""
    line = json.dumps(dict(details, event=event), sort_keys=True, allow_nan=False)
    with _printing:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()


def main(arguments):
    """Exit status: 0 done, 1 failed (an `error` event says why), 3 where nobody listens any more."""
    with open(arguments[0], encoding="utf-8") as file:
        job = json.load(file)
    pid = os.path.join(HERE, "pid")
    with open(pid, "w", encoding="ascii") as file:
        file.write(str(os.getpgrp()))
    try:
        code = measure(job, arguments[0])
        os.remove(pid)
        return code
    except BrokenPipeError:
        # The connection is gone, and with it whoever would have tidied up.
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        if not job["keep"]:
            shutil.rmtree(os.path.dirname(HERE), ignore_errors=True)
        return 3


def measure(job, path):
    """Everything, from the facts to the last event."""
    emit("clock", at=time.monotonic(), wall=time.time())
    threading.Thread(target=_say_alive, args=(job["quiet_s"] / 3,), daemon=True).start()
    known = facts.describe_device()
    emit("facts", facts=known)
    mode = known.get("power_mode", "unknown")
    if job["power_mode"] is not None and mode != job["power_mode"]:
        emit("error", problem="the power mode is '%s', not '%s': set it there (nvpmodel)" % (mode, job["power_mode"]))
        return 1
    sampler = sensors.Sampler(job["sample_hz"], lambda at, values: emit("sensors", at=at, values=values))
    emit("meters", found=sampler.describe())
    workers = []
    try:
        with sampler:
            run(job, path, workers)
    except Failure as failure:
        emit("error", problem=str(failure)[:SHOWN])
        return 1
    finally:
        for worker in workers:
            worker.stop()
    emit("done")
    return 0


def run(job, path, workers):
    """Load, prove, warm up, then time all artifacts in turns."""
    emit("idle", start=time.monotonic(), end=_rest(job["idle_s"]))
    for place, item in enumerate(job["workers"]):
        worker = Worker(path, place, item)
        workers.append(worker)
        emit("loaded", worker=worker.index, **worker.ask("load", LOAD_S))
    for worker in workers:
        emit("outputs", worker=worker.index, **worker.ask("golden", LOAD_S))
        warm = worker.ask("warm_up", LOAD_S, runs=job["warm_up"])
        worker.run_s = max(warm["ns"]) / 1e9 if warm["ns"] else 1.0
        emit("warm_up", worker=worker.index, **warm)
    if workers:
        take_turns(job, workers)
    for worker in workers:
        emit("layers", worker=worker.index, **worker.ask("layers", LOAD_S))
        emit("memory", worker=worker.index, **worker.ask("memory", MEMORY_S))
    for command in job["commands"]:
        run_command(command)


def run_command(command):
    """A target's own tool, which builds, proves and times by itself and prints JSON."""
    start = time.monotonic()
    try:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    except OSError as error:
        raise Failure("'%s' does not start: %s" % (command[0], error.strerror))
    printed = process.stdout.read(MOST_PRINTED + 1)
    code = process.wait()
    if code != 0 or len(printed) > MOST_PRINTED:
        raise Failure("'%s' failed with status %d; its words are above" % (" ".join(command), code))
    emit("command", stdout=printed.decode("utf-8", "replace"), start=start, end=time.monotonic())


def _say_alive(period_s):
    """An event now and then, so that a long run or engine build is not taken for a dropped connection."""
    try:
        while True:
            emit("alive")
            time.sleep(min(ALIVE_S, period_s))
    except OSError:
        return  # nobody listens: the main thread finds out by itself


def take_turns(job, workers):
    """Rounds that go through the artifacts forth and back, so that heat and clocks fall on all alike."""
    for number in range(job["first_round"], job["rounds"]):
        for worker in workers if number % 2 == 0 else reversed(workers):
            time_round(worker, job, job["runs"], job["seconds"])
    soak_until = time.monotonic() + job["soak_s"]
    while job["soak_s"] and time.monotonic() < soak_until:
        time_round(workers[0], job, None, min(job["soak_round_s"], job["soak_s"]), soak=True)


def time_round(worker, job, runs, seconds, **mark):
    """One worker's round of timed runs, with its start and end on the clock of the sensors.

    A round that takes ten times what the warm-up promised, and the patience on top, hangs.
    """
    start = time.monotonic()
    expected = (seconds or 0.0) + (runs or 5) * worker.run_s
    answer = worker.ask("time", job["quiet_s"] + 10 * expected, runs=runs, seconds=seconds)
    emit("round", worker=worker.index, start=start, end=time.monotonic(), **dict(answer, **mark))


def _rest(seconds):
    """Wait, so that the sensors see what the device takes when nothing runs; the time after it."""
    time.sleep(seconds)
    return time.monotonic()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
