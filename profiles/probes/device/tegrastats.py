"""Reads tegrastats of every JetPack: power by rail, temperatures, clocks and memory."""

import re
import subprocess
import threading

POWER = re.compile(r"\b(V[A-Z0-9_]+) (\d+)mW(?:/\d+mW)*")
TEMPERATURE = re.compile(r"\b([A-Za-z][A-Za-z0-9_]*)@(-?\d+(?:\.\d+)?)C\b")
MEMORY = re.compile(r"\bRAM (\d+)/(\d+)MB")
GPU = re.compile(r"\bGR3D_FREQ (?:(\d+)%)?(?:@\[?(\d+))?")
EMC = re.compile(r"\bEMC_FREQ (?:(\d+)%)?(?:@(\d+))?")
CPU = re.compile(r"\bCPU \[([^\]]*)\]")


def parse_line(line):
    """{name: value} of one line; names end in their unit, and what a line does not tell is left out."""
    found = {"power/%s_W" % rail: int(milliwatt) / 1000.0 for rail, milliwatt in POWER.findall(line)}
    for name, celsius in TEMPERATURE.findall(line):
        found["temperature/%s_C" % name.lower()] = float(celsius)
    memory = MEMORY.search(line)
    if memory:
        found["memory/used_MB"] = float(memory.group(1))
    for name, pattern in (("gpu", GPU), ("emc", EMC)):
        match = pattern.search(line)
        if match and match.group(1):
            found["load/%s_percent" % name] = float(match.group(1))
        if match and match.group(2):
            found["clock/%s_MHz" % name] = float(match.group(2))
    cores = CPU.search(line)
    if cores:
        clocks = [int(core.partition("@")[2]) for core in cores.group(1).split(",") if "@" in core]
        if clocks:
            found["clock/cpu_MHz"] = float(max(clocks))
    return found


class TegraStats:
    """One running tegrastats; `latest` is what its last line told."""

    def __init__(self, period_s):
        self.latest = {}
        self.seen = threading.Event()
        self.process = None
        try:
            self.process = subprocess.Popen(
                ["tegrastats", "--interval", str(max(20, int(period_s * 1000)))],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                universal_newlines=True,
            )
        except OSError:
            return  # no Jetson
        self.thread = threading.Thread(target=self._follow, daemon=True)
        self.thread.start()
        self.seen.wait(3.0)

    def _follow(self):
        for line in self.process.stdout:
            self.latest = parse_line(line)
            self.seen.set()

    def stop(self):
        if self.process is not None:
            self.process.kill()
            self.process.wait()
