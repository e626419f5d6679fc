"""Whether this host has a full TensorRT and a GPU; nothing is imported until it is asked."""

from __future__ import annotations

import ctypes
from functools import cache
from importlib import import_module
from importlib.util import find_spec

# How an artifact's `proves` begins where its proof is a run of an engine of this host.
ENGINE_WORDS = "an engine built and run on the host"


@cache
def tensorrt_here() -> str | None:
    """The version of a usable full TensorRT, or None: no package, no libraries behind it, or no GPU."""
    if find_spec("tensorrt") is None or not _has_gpu():
        return None
    try:
        version = import_module("tensorrt").__version__
    except (ImportError, AttributeError, OSError, RuntimeError):
        return None
    return str(version)


def _has_gpu() -> bool:
    """The CUDA driver answers and counts at least one device."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int(0)
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
