"""Reads power, temperature and clocks from the kernel's files at a fixed rate, on the runner's own clock."""

import glob
import os
import sys
import threading
import time

import powermetrics
import tegrastats
from facts import read_text


class Sampler:
    """Calls `tell(at, {name: value})` at `rate_hz` while it is entered; names end in their unit."""

    def __init__(self, rate_hz, tell):
        self.period = 1.0 / rate_hz
        self.tell = tell
        self.read = [source for source in find_sources() if source.read() is not None]
        mac = sys.platform == "darwin"
        self.board = powermetrics.PowerMetrics(self.period) if mac else tegrastats.TegraStats(self.period)
        self.stopped = threading.Event()
        self.thread = threading.Thread(target=self._loop, daemon=True)

    def describe(self):
        """Names of everything that is read, the kernel's own figure where both have one."""
        return sorted(set(self.board.latest) | {source.name for source in self.read})

    def __enter__(self):
        if self.describe():
            self.thread.start()
        return self

    def __exit__(self, *_):
        self.stopped.set()
        if self.thread.is_alive():
            self.thread.join(timeout=5)
        self.board.stop()

    def _loop(self):
        due = time.monotonic()
        while not self.stopped.is_set():
            at = time.monotonic()
            values = dict(self.board.latest)
            for source in self.read:
                value = source.read()
                if value is not None:
                    values[source.name] = value
            self.tell(at, values)
            due = max(due + self.period, time.monotonic())
            self.stopped.wait(due - time.monotonic())


class File:
    """One number in one file, times a factor."""

    def __init__(self, name, path, factor):
        self.name, self.path, self.factor = name, path, factor

    def read(self):
        return number(self.path, self.factor)


class Product:
    """Power as the product of two files (voltage and current)."""

    def __init__(self, name, paths, factor):
        self.name, self.paths, self.factor = name, paths, factor

    def read(self):
        one, other = (number(path, 1.0) for path in self.paths)
        return None if one is None or other is None else abs(one * other) * self.factor


class Counter:
    """Power as the growth of an energy counter (RAPL: microjoules, which wrap around)."""

    def __init__(self, name, path, most):
        self.name, self.path, self.most = name, path, most
        self.last = (time.monotonic(), number(path, 1.0))

    def read(self):
        at, value = time.monotonic(), number(self.path, 1.0)
        (before, earlier), self.last = self.last, (at, value)
        if value is None or earlier is None:
            return None
        grown = value - earlier if value >= earlier else value - earlier + self.most
        return grown * 1e-6 / (at - before) if at - before > 1e-3 else 0.0


def number(path, factor):
    """The number in a file times `factor`; None where there is none."""
    try:
        return float(read_text(path)) * factor
    except ValueError:
        return None


def find_sources():
    """Every source that the kernel names here."""
    return [*_ina3221(), *_rapl(), *_battery(), *_temperatures(), *_clocks()]


def _ina3221():
    for folder in sorted(glob.glob("/sys/bus/i2c/drivers/ina3221/*/hwmon/hwmon*")):
        for channel in ("1", "2", "3"):
            label = read_text("%s/in%s_label" % (folder, channel))
            if label:
                paths = ["%s/in%s_input" % (folder, channel), "%s/curr%s_input" % (folder, channel)]
                yield Product("power/%s_W" % plain(label), paths, 1e-6)  # mV x mA


def _rapl():
    for folder in sorted(glob.glob("/sys/class/powercap/intel-rapl:*")):
        path = os.path.join(folder, "energy_uj")
        name, most = read_text(folder + "/name"), number(folder + "/max_energy_range_uj", 1.0)
        if name and most is not None and number(path, 1.0) is not None:
            yield Counter("power/rapl_%s_W" % plain(name), path, most)


def _battery():
    for folder in sorted(glob.glob("/sys/class/power_supply/*")):
        # While something charges it, a fuel gauge shows the charger's current.
        if read_text(folder + "/type") == "Battery" and read_text(folder + "/status") == "Discharging":
            paths = [folder + "/voltage_now", folder + "/current_now"]
            yield Product("power/battery_W", paths, 1e-12)  # uV x uA


def _temperatures():
    for folder in sorted(glob.glob("/sys/class/thermal/thermal_zone*")):
        name = read_text(folder + "/type") or os.path.basename(folder)
        yield File("temperature/%s_C" % plain(name), folder + "/temp", 1e-3)


def _clocks():
    for path in sorted(glob.glob("/sys/devices/system/cpu/cpufreq/policy*/scaling_cur_freq")):
        yield File("clock/%s_MHz" % os.path.basename(os.path.dirname(path)), path, 1e-3)


def plain(text):
    """A name without anything but letters, digits, '-' and '.'."""
    return "".join(sign if sign.isalnum() or sign in "-." else "-" for sign in text)[:40]
