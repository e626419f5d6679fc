"""A board's power while it computes: one share of what its load adds, from public runs of one network."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import median
from typing import TYPE_CHECKING

from edgekit._power import drawn_share
from edgekit._work import count_traffic
from edgekit.profiles.loader import HERE, load_device

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from scripts.fit.decode import Decode
    from scripts.fit.family import CellFit
    from scripts.fit.tables import Graph, Row

BOARD, TABLE_NAME = "jetson-orin-nano-super", "Jetson Orin Nano Super 8GB"
# The network whose power was measured, and the same one among the graphs (3.2 M weights, 640 pixels).
NETWORK, GRAPH = "YOLOv8n 640", ("yolov8_det", "")
# Three runs of one network make no band: dynamic power half as much again or a third less, by a rule.
RULE = (1 / 1.5, 1.5)


@dataclass(frozen=True)
class Run:
    """One public power under TensorRT: watts, and the share of the load's memory traffic by the counts."""

    precision: str
    watts: float
    used: float


@dataclass(frozen=True)
class Power:
    """base, full: see PowerFit; each run with what the others say of it."""

    runtime: str
    idle: float
    base: float
    full: float
    runs: tuple[Run, ...]
    said: tuple[float, ...]

    @property
    def errors(self) -> tuple[float, ...]:
        """Logs of predicted over measured watts, held out."""
        return tuple(math.log(watts / run.watts) for run, watts in zip(self.runs, self.said, strict=True))

    @property
    def covered(self) -> float:
        """The share of the runs whose power above idle the rule's band holds."""
        low, high = RULE
        shares = [
            (run.watts - self.idle) / (watts - self.idle)
            for run, watts in zip(self.runs, self.said, strict=True)
        ]
        return sum(low <= share <= high for share in shares) / len(shares)


def fit_power(
    rows: Sequence[Row],
    graphs: Mapping[Graph, Mapping[str, float]],
    jetsons: Sequence[CellFit],
    decode: Sequence[Decode],
) -> Power:
    """The share that is always drawn; each precision of the network is held out in turn.

    The load figure of the board was taken while it decoded: it goes with the traffic of a decode step.
    """
    device = load_device(HERE / "devices" / f"{BOARD}.toml")
    idle, load = (device.figures[name].value for name in ("power_idle", "power_load"))
    bandwidth = device.figures["dram_bandwidth"].value
    full = next(row.share for row in decode if (row.device, row.precision) == (BOARD, "w4"))
    times = {
        cell.precision: sum(ms * graphs[GRAPH].get(term, 0.0) for term, ms in cell.coefficients.items())
        for cell in jetsons
        if cell.device == BOARD
    }
    weights = 1e6 * (graphs[GRAPH]["weights"] + graphs[GRAPH]["vector_weights"])
    runs = []
    for row in rows:
        wanted = (row["device"], row["model"], row["runtime"], row["metric"])
        if wanted == (TABLE_NAME, NETWORK, "TensorRT", "board power"):
            precision = row["precision"].lower()
            gigabytes = count_traffic(graphs[GRAPH], weights, precision) / 1e6 / times[precision]  # a second
            used = gigabytes / (bandwidth * full)
            runs.append(Run(precision, float(row["value"]), min(used, 1.0)))
    said = []
    for run in runs:
        base = _base([other for other in runs if other is not run], idle, load)
        said.append(idle + (load - idle) * drawn_share(base, run.used))
    return Power("tensorrt", idle, _base(runs, idle, load), full, tuple(runs), tuple(said))


def _base(runs: Sequence[Run], idle: float, load: float) -> float:
    """The median of what each run asks for."""
    shares = [((run.watts - idle) / (load - idle) - run.used) / (1 - run.used) for run in runs]
    return max(median(shares), 0.0)
