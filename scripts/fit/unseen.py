"""Devices held out: what their kin's fits say of them, and what the spec sheet's band does."""

from __future__ import annotations

import math
from collections import defaultdict
from statistics import median
from typing import TYPE_CHECKING

from edgekit._latency import SPEC_BAND, find_peak
from scripts.fit.family import MAC_TERMS, band
from scripts.fit.score import Score, score

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._values import Device
    from scripts.fit.family import CellFit, Graph

Cell = tuple[str, str, str]  # device, runtime, precision
BYTES = {"int8": 1, "fp16": 2, "fp32": 4}


def other_devices(
    cells: Sequence[CellFit], known: Mapping[Cell, Mapping[Graph, float]], arch: Mapping[str, str]
) -> dict[Cell, list[float]]:
    """Cell -> errors of fits taken from other devices of its Hexagon generation, models held out too."""
    found: dict[Cell, list[float]] = defaultdict(list)
    for cell in cells:
        peers = [
            other
            for other in cells
            if (other.runtime, other.precision) == (cell.runtime, cell.precision)
            and other.device != cell.device
            and arch.get(other.device) == arch.get(cell.device) is not None
        ]
        place = cell.device, cell.runtime, cell.precision
        for graph in cell.held:
            said = [
                peer.held[graph] + math.log(known[peer.device, peer.runtime, peer.precision][graph])
                for peer in peers
                if graph in peer.held
            ]
            if said:
                found[place].append(median(said) - math.log(known[place][graph]))
    return dict(found)


def score_unseen(found: Mapping[Cell, Sequence[float]]) -> dict[Cell, Score]:
    """Each cell's errors; its band is made of the errors of the other devices' cells of that precision."""
    made = {}
    for place, errors in found.items():
        others = [
            error
            for other, rows in found.items()
            if other[2] == place[2] and other[0] != place[0]
            for error in rows
        ]
        plain = score(errors)
        if not others:
            made[place] = plain
            continue
        low, high = band(others)
        inside = sum(low <= math.exp(-error) <= high for error in errors) / len(errors)
        made[place] = Score(plain.points, plain.error, plain.within_10, plain.within_30, inside, high / low)
    return made


def spec_ratios(
    device: Device,
    precision: str,
    graphs: Mapping[Graph, Mapping[str, float]],
    times: Mapping[Graph, float],
) -> list[float]:
    """Measured over roofline, as a device without a fit is predicted; [] without a published peak.

    The roofline is the longer of the MACs' time at the peak and the time that weights and moved activations,
    written once and read once, take at the memory's bandwidth.
    """
    peak, bandwidth = find_peak(device, precision), device.figures.get("dram_bandwidth")
    if peak is None or bandwidth is None:
        return []
    found = []
    for graph in sorted(times.keys() & graphs.keys()):
        terms = graphs[graph]
        gmacs = sum(terms[name] for name in MAC_TERMS)
        numbers = terms["weights"] + terms["vector_weights"]
        numbers += 2 * sum(value for name, value in terms.items() if name.startswith("moved_"))
        ms = max(2 * gmacs / peak.value, BYTES[precision] * numbers / bandwidth.value)
        found.append(times[graph] / ms)
    return found


def score_spec(ratios: Sequence[float]) -> tuple[float, float]:
    """The share that the rule's band holds, and the median error of its middle."""
    low, middle, high = SPEC_BAND
    inside = sum(low <= ratio <= high for ratio in ratios) / len(ratios)
    return inside, median(abs(middle / ratio - 1) for ratio in ratios)
