"""What this machine is; a fact that cannot be read is None, never guessed."""

import platform
import re
import subprocess


def detect():
    """Facts as a dict of strings and numbers."""
    memory = output(["sysctl", "-n", "hw.memsize"])
    return {
        "model": output(["sysctl", "-n", "hw.model"]),
        "chip": output(["sysctl", "-n", "machdep.cpu.brand_string"]),
        "memory_mib": int(memory) >> 20 if memory and memory.isdigit() else None,
        "macos": platform.mac_ver()[0] or None,
        "build": output(["sw_vers", "-buildVersion"]),
        "low_power_mode": parse_setting(output(["pmset", "-g"]), "lowpowermode"),
        "on_battery": parse_source(output(["pmset", "-g", "batt"])),
        "python": platform.python_version(),
        "machine": platform.machine(),
        "system": platform.system(),
    }


def parse_setting(text, name):
    """`  lowpowermode         0` of `pmset -g` -> False."""
    found = re.search(rf"^\s*{name}\s+(\d)\s*$", text or "", re.MULTILINE)
    return found.group(1) == "1" if found else None


def parse_source(text):
    """`Now drawing from 'AC Power'` of `pmset -g batt` -> False."""
    found = re.search(r"drawing from '([^']+)'", text or "")
    return found.group(1) == "Battery Power" if found else None


def output(argv):
    """stdout of a quick command, or None where it is missing or fails."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True, errors="replace", timeout=20, check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() or None if done.returncode == 0 else None
