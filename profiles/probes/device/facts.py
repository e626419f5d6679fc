"""What this device is: machine, board, CPU, memory, system and power mode, as far as it tells."""

import os
import platform
import re
import subprocess
import sys

MOST = 200


def describe_device():
    """{fact: text}; what the device does not tell is left out."""
    found = {
        "system": "%s %s" % (platform.system(), platform.release()),
        "machine": platform.machine(),
        "python": platform.python_version(),
        "cores": str(os.cpu_count() or ""),
        "board": read_text("/proc/device-tree/model") or read_text("/sys/class/dmi/id/product_name"),
        "cpu": _from_lines("/proc/cpuinfo", ("model name", "Model", "Hardware")),
        "memory": _from_lines("/proc/meminfo", ("MemTotal",)),
        "memory_free": _from_lines("/proc/meminfo", ("MemAvailable",)),
        "governor": read_text("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor"),
        "jetpack": _from_lines("/etc/nv_tegra_release", ("# R",)),
        "power_mode": _power_mode(),
        "load": "%.2f" % os.getloadavg()[0],
        "boot": read_text("/proc/sys/kernel/random/boot_id") or ask("sysctl", "-n", "kern.bootsessionuuid"),
    }
    if sys.platform == "darwin":
        found.update(describe_mac())
    return {name: text[:MOST] for name, text in found.items() if text}


def describe_mac():
    """What a Mac tells by other ways than Linux."""
    supply = re.search("drawing from '([^']+)'", ask("pmset", "-g", "batt"))
    low_power = re.search(r"^\s*lowpowermode\s+(\d)", ask("pmset", "-g"), re.MULTILINE)
    memory = ask("sysctl", "-n", "hw.memsize")
    return {
        "model": ask("sysctl", "-n", "hw.model"),
        "cpu": ask("sysctl", "-n", "machdep.cpu.brand_string"),
        "memory": "%d kB" % (int(memory) >> 10) if memory.isdigit() else "",
        "macos": ask("sw_vers", "-productVersion"),
        "supply": supply.group(1) if supply else "",
        "power_mode": {"0": "normal", "1": "low power mode"}.get(low_power.group(1), "") if low_power else "",
    }


def read_text(path):
    """A small system file without its padding; "" where it is not there."""
    try:
        with open(path, encoding="utf-8", errors="replace") as file:
            return file.read(4096).strip("\0\n ")
    except OSError:
        return ""


def _from_lines(path, keys):
    """What stands behind the first of `keys` that the file has."""
    lines = read_text(path).splitlines()
    for key in keys:
        for line in lines:
            if line.startswith(key):
                return (line.partition(":")[2] or line).strip()
    return ""


def ask(*command):
    """What a quick command prints; "" where it is missing or fails."""
    try:
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, timeout=10)
    except (OSError, subprocess.SubprocessError):
        return ""
    return done.stdout.decode("utf-8", "replace").strip() if done.returncode == 0 else ""


def _power_mode():
    """The name that nvpmodel gives on a Jetson."""
    for line in ask("nvpmodel", "-q").splitlines():
        if "Power Mode" in line:
            return line.partition(":")[2].strip()
    return ""
