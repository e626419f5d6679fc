"""GPUs of one design by their published peak: YOLO11 under TensorRT, devices and sizes held out in turn."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit._latency import find_peak
from edgekit.profiles.loader import HERE, load_device
from scripts.fit.jetson import count_gmacs, fit_terms

if TYPE_CHECKING:
    from collections.abc import Mapping

    from scripts.fit.family import Graph


@dataclass(frozen=True)
class Capability:
    """GPUs of one compute capability; held: (device, model) -> log of predicted over measured.

    Both are held out: other sizes of the network on other devices said it.
    """

    capability: str
    precision: str
    layer_mb: float
    share: float
    held: Mapping[tuple[str, str], float]
    gmacs: tuple[float, float]


@dataclass(frozen=True)
class _Run:
    device: str
    model: str
    layers_a_bandwidth: float
    at_peak_ms: float
    gmacs: float
    log: float


def fit_capabilities(
    graphs: Mapping[Graph, Mapping[str, float]], known: Mapping[tuple[str, str, str], Mapping[Graph, float]]
) -> list[Capability]:
    """One fit a precision of all devices together, each by its published peak."""
    runs: dict[tuple[str, str], list[_Run]] = {}
    for (name, _, precision), rows in sorted(known.items()):
        device = load_device(HERE / "devices" / f"{name}.toml")
        peak, capability = find_peak(device, precision), device.facts.get("compute_capability")
        bandwidth = device.figures.get("dram_bandwidth")
        if peak is None or capability is None or bandwidth is None:
            continue
        for graph in sorted(rows.keys() & graphs.keys()):
            gmacs, layers = count_gmacs(graphs[graph]), graphs[graph]["layers"] / bandwidth.value
            run = _Run(name, graph[0], layers, 2 * gmacs / peak.value, gmacs, math.log(rows[graph]))
            runs.setdefault((capability, precision), []).append(run)
    return [_fit_capability(*key, rows) for key, rows in sorted(runs.items())]


def _fit_capability(capability: str, precision: str, runs: list[_Run]) -> Capability:
    held = {}
    for run in runs:
        layer, inverse = _solve([row for row in runs if row.device != run.device and row.model != run.model])
        held[run.device, run.model] = (
            math.log(layer * run.layers_a_bandwidth + inverse * run.at_peak_ms) - run.log
        )
    layer, inverse = _solve(runs)
    sizes = [run.gmacs for run in runs]
    return Capability(capability, precision, layer, 1 / inverse, held, (min(sizes), max(sizes)))


def _solve(runs: list[_Run]) -> tuple[float, float]:
    """MB a layer, and how many times the time at peak."""
    terms = np.array([[run.layers_a_bandwidth, run.at_peak_ms] for run in runs])
    layer, inverse = np.exp(fit_terms(terms, np.array([run.log for run in runs])))
    return float(layer), float(inverse)
