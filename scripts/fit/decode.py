"""Decode steps: a time a layer, and bytes at a share of the memory bandwidth."""

from __future__ import annotations

import math
from collections import defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._work import WEIGHT_BYTES
from scripts.fit.language_tables import NAMES, list_subjects, measured_rows
from scripts.fit.regress import Array, fit_logs
from scripts.fit.tables import DEVICES, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

LEAST_MODELS = 3
START = (-3.0, 0.3)  # log ms a layer, log of one over the share: where the fit begins and is drawn to


@dataclass(frozen=True)
class Point:
    """One public figure of one token: milliseconds, layers that have MACs, GB of weights, GB/s of memory."""

    family: str
    device: str
    precision: str
    model: str
    ms: float
    layers: int
    gigabytes: float
    bandwidth: float


@dataclass(frozen=True)
class Decode:
    """A device's (or with "" its family's) milliseconds a layer and share of bandwidth; held-out errors.

    models: whose error each is.
    """

    family: str
    device: str
    precision: str
    layer_ms: float
    share: float
    errors: tuple[float, ...]
    models: tuple[str, ...]


def read_points(hub: list[Row], measured: list[Row]) -> list[Point]:
    """Every decode figure whose model's size and whose device's bandwidth are known."""
    found = []
    for subject, (speed,) in list_subjects([*_hub(hub), *_measured(measured)]):
        bandwidth = subject.device.figures.get("dram_bandwidth")
        if bandwidth is not None:
            gigabytes = subject.weights * WEIGHT_BYTES[subject.precision] / 1e9
            place = subject.family, subject.device.name, subject.precision, subject.model
            found.append(Point(*place, 1e3 / speed, subject.layers, gigabytes, bandwidth.value))
    return found


def _hub(rows: list[Row]) -> Iterator[tuple[str, str, str, float]]:
    for row in rows:
        if row["tokens_per_s"] and row["device"] in DEVICES and row["model"] in NAMES:
            yield DEVICES[row["device"]], NAMES[row["model"]], row["precision"], float(row["tokens_per_s"])


def _measured(rows: list[Row]) -> Iterator[tuple[str, str, str, float]]:
    for row, place in measured_rows(rows):
        if row["metric"] in ("decode", "decode bs1"):
            yield (*place, float(row["value"]))


def fit_decode(points: list[Point]) -> list[Decode]:
    """Devices with three models or more, then families."""
    groups: dict[tuple[str, str, str], list[Point]] = defaultdict(list)
    for point in points:
        groups[point.family, point.device, point.precision].append(point)
        groups[point.family, "", point.precision].append(point)
    made = []
    for (family, device, precision), rows in sorted(groups.items()):
        if len({(row.device, row.model) for row in rows}) >= LEAST_MODELS:
            layer, inverse = np.exp(_fit(rows))
            models, errors = zip(*_hold_out(rows), strict=True)
            made.append(Decode(family, device, precision, float(layer), 1 / float(inverse), errors, models))
    return made


def repeats(points: list[Point]) -> list[float]:
    """Logs of the slowest over the fastest of several figures of one model on one device in one precision."""
    groups: dict[tuple[str, str, str], list[float]] = defaultdict(list)
    for point in points:
        groups[point.device, point.precision, point.model].append(point.ms)
    return [math.log(max(times) / min(times)) for times in groups.values() if len(times) > 1]


def _fit(rows: list[Point]) -> Array:
    """Logs of ms a layer and of one over the share."""
    terms = np.array([[row.layers, 1e3 * row.gigabytes / row.bandwidth] for row in rows])
    return fit_logs(terms, np.array([math.log(row.ms) for row in rows]), np.array(START), 0.05, steps=30)


def _hold_out(rows: list[Point]) -> list[tuple[str, float]]:
    """Model and log of predicted over measured ms; each model is held out in turn, on all devices."""
    errors = []
    for model in sorted({row.model for row in rows}):
        layer, inverse = np.exp(_fit([row for row in rows if row.model != model]))
        for row in (row for row in rows if row.model == model):
            made = layer * row.layers + inverse * 1e3 * row.gigabytes / row.bandwidth
            errors.append((model, math.log(made / row.ms)))
    return errors
