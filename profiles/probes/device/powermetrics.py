"""Follows powermetrics on a Mac: power of CPU, GPU and Neural Engine. It needs root, without a password."""

import re
import subprocess
import threading

RAILS = (
    ("power/cpu_W", re.compile(r"^CPU Power: *([\d.]+) *(m?W)\b")),
    ("power/gpu_W", re.compile(r"^GPU Power: *([\d.]+) *(m?W)\b")),
    ("power/neural-engine_W", re.compile(r"^ANE Power: *([\d.]+) *(m?W)\b")),
    ("power/combined_W", re.compile(r"^Combined Power \([^)]*\): *([\d.]+) *(m?W)\b")),
)


def parse_line(line):
    """{name: W} of one line, {} of most."""
    for name, pattern in RAILS:
        match = pattern.match(line)
        if match:
            return {name: float(match.group(1)) * (0.001 if match.group(2) == "mW" else 1.0)}
    return {}


class PowerMetrics:
    """One running powermetrics; `latest` is what its last sample told. `-b 1` flushes each line."""

    def __init__(self, period_s):
        self.latest = {}
        self.seen = threading.Event()
        self.process = None
        interval = str(max(20, int(period_s * 1000)))
        command = ["sudo", "-n", "powermetrics", "--samplers", "cpu_power,gpu_power,ane_power", "-i", interval, "-b", "1"]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                universal_newlines=True,
            )
        except OSError:
            return
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()
        self.seen.wait(3.0)

    def _follow(self):
        sample = {}
        for line in self.process.stdout:
            if line.startswith("*** Sampled"):
                sample = {}
            sample.update(parse_line(line))
            if "power/combined_W" in sample:
                self.latest = dict(sample)
                self.seen.set()
        self.seen.set()  # it ended: sudo would have asked for a password

    def stop(self):
        if self.process is not None:
            self.process.terminate()  # sudo hands this on, as it cannot a SIGKILL
            try:
                self.process.wait(3)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
