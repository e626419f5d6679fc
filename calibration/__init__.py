"""Samples, observers, the calibration record and the scales that come of it."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from edgekit.calibration.observers import observer_names
    from edgekit.calibration.preprocess import Preprocess, parse_preprocess
    from edgekit.calibration.samples import Sample, Samples, load_samples
    from edgekit.calibration.scales import derive_scales

__all__ = [
    "CalibrationRecord",
    "Preprocess",
    "Sample",
    "Samples",
    "TensorRange",
    "derive_scales",
    "load_samples",
    "observer_names",
    "parse_preprocess",
]

_HOMES = {
    "observer_names": "observers",
    "Preprocess": "preprocess",
    "parse_preprocess": "preprocess",
    "CalibrationRecord": "record",
    "TensorRange": "record",
    "Sample": "samples",
    "Samples": "samples",
    "load_samples": "samples",
    "derive_scales": "scales",
}


def __getattr__(name: str) -> object:
    """Import a public name from its module on first use; numpy and onnx cost too much at start."""
    if name not in _HOMES:
        raise AttributeError(f"module '{__name__}' has no attribute '{name}'")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
