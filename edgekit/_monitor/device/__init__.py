"""The monitor that runs on devices: copy this folder, then `from edgekit_monitor import Monitor`."""

from .monitor import Monitor
from .sketch import Sketch, SketchError, read_sketch

__all__ = ["Monitor", "Sketch", "SketchError", "read_sketch"]
