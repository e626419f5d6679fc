"""From the field: what devices saw of a bundle, merged, and held against what it was made with."""

from edgekit._field.drift import DriftResult, DriftWords, TensorDrift, find_drift
from edgekit._field.late import LateDevice

__all__ = ["DriftResult", "DriftWords", "LateDevice", "TensorDrift", "find_drift"]
