"""Samples, observers, the calibration record and the scales that come of it."""
