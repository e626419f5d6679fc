"""From the field: what devices saw of a bundle, merged, and held against what it was made with."""

from edgekit._field.devices import DeviceFigure
from edgekit._field.drift import Curves, DriftResult, DriftWords, TensorDrift, find_drift

__all__ = ["Curves", "DeviceFigure", "DriftResult", "DriftWords", "TensorDrift", "find_drift"]
