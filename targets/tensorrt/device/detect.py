"""What this device is: board, JetPack, TensorRT, GPU, power mode and memory; unknown stays None."""

import ctypes
import os
import re
import subprocess


def detect(root="/"):
    """Facts as a dict of strings and numbers; a fact that cannot be read is None, never guessed."""
    name, capability = gpu()
    return {
        "board": read_text(os.path.join(root, "proc/device-tree/model")),
        "l4t": parse_tegra_release(read_text(os.path.join(root, "etc/nv_tegra_release"))),
        "tensorrt_package": package_version("libnvinfer-bin") or package_version("tensorrt"),
        "gpu": name,
        "compute_capability": capability,
        "power_mode": parse_power_mode(output(["nvpmodel", "-q"])),
        "memory_mib": parse_memory(read_text(os.path.join(root, "proc/meminfo"))),
        "kernel": os.uname().release,
        "machine": os.uname().machine,
    }


def read_text(path):
    """The text of a small file without NULs, or None."""
    try:
        with open(path, "rb") as file:
            return file.read(65536).replace(b"\0", b"").decode("utf-8", "replace").strip() or None
    except OSError:
        return None


def parse_tegra_release(text):
    """`# R36 (release), REVISION: 4.3, GCID: ...` -> `36.4.3`."""
    found = re.search(r"# R(\d+) \(release\), REVISION: ([\d.]+)", text or "")
    return "%s.%s" % found.groups() if found else None


def parse_power_mode(text):
    """`NV Power Mode: 15W` -> `15W`: ids differ between modules, the name does not."""
    found = re.search(r"NV Power Mode: *([\w.+-]+)", text or "")
    return found.group(1) if found else None


def parse_memory(text):
    """`MemTotal: 7802404 kB` -> 7619 (MiB)."""
    found = re.search(r"MemTotal: *(\d+) kB", text or "")
    return int(found.group(1)) // 1024 if found else None


def package_version(package):
    """The installed Debian package's version, or None."""
    text = output(["dpkg-query", "-W", "-f", "${Version}", package])
    return text.strip() or None if text else None


def output(argv):
    """stdout of a quick command, or None where it is missing or fails."""
    try:
        done = subprocess.run(
            argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            universal_newlines=True, errors="replace", timeout=20, check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout if done.returncode == 0 else None


def gpu():
    """(name, `8.7`) of the first GPU as the CUDA driver says, or (None, None)."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return None, None
    device = ctypes.c_int()
    if driver.cuInit(0) != 0 or driver.cuDeviceGet(ctypes.byref(device), 0) != 0:
        return None, None
    name = ctypes.create_string_buffer(256)
    named = driver.cuDeviceGetName(name, 256, device) == 0
    parts = []
    # CU_DEVICE_ATTRIBUTE_COMPUTE_CAPABILITY_MAJOR and _MINOR in cuda.h
    for attribute in (75, 76):
        value = ctypes.c_int()
        if driver.cuDeviceGetAttribute(ctypes.byref(value), attribute, device) != 0:
            return (name.value.decode() if named else None), None
        parts.append(str(value.value))
    return (name.value.decode() if named else None), ".".join(parts)
