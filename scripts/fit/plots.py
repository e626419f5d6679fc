"""Plots of the prediction page."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from scripts.fit.family import CellFit, Graph

COLOURS = {"litert": "#1b6ca8", "qnn": "#c8553d", "onnxruntime": "#588157"}


def plot_points(
    cells: Sequence[CellFit], known: Mapping[tuple[str, str, str], Mapping[Graph, float]], path: Path
) -> None:
    """Held-out predictions over measurements, both in ms, on logarithmic axes."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(5, 4.6), layout="constrained")
    axes = figure.subplots()
    for runtime, colour in COLOURS.items():
        pairs = [
            (known[cell.device, runtime, cell.precision][graph], error)
            for cell in cells
            if cell.runtime == runtime
            for graph, error in cell.held.items()
        ]
        measured = [ms for ms, _ in pairs]
        axes.scatter(measured, [ms * math.exp(error) for ms, error in pairs], s=4, c=colour, label=runtime)
    ends = (0.05, 3000)
    for factor, style in ((1.0, "-"), (1.3, ":"), (1 / 1.3, ":")):
        axes.plot(ends, [end * factor for end in ends], style, c="black", lw=0.7)
    axes.set(xscale="log", yscale="log", xlabel="measured (ms)", ylabel="predicted, model held out (ms)")
    axes.set_title(f"{cells[0].precision}: dotted lines at 30 %", fontsize=10)
    axes.legend()
    figure.savefig(path, dpi=90, metadata={"Software": ""})


def plot_errors(cells: Sequence[CellFit], path: Path) -> None:
    """One box a device: log2 of predicted over measured, models held out."""
    from matplotlib.figure import Figure

    names = sorted({cell.device for cell in cells})
    rows = [
        [error / math.log(2) for cell in cells if cell.device == name for error in cell.held.values()]
        for name in names
    ]
    figure = Figure(figsize=(6, 4.6), layout="constrained")
    axes = figure.subplots()
    axes.boxplot(rows, orientation="horizontal", whis=(10, 90), showfliers=False, tick_labels=names)
    axes.axvline(0, c="black", lw=0.7)
    axes.set(xlabel="predicted over measured, in powers of two (boxes: half, whiskers: 80 %)")
    axes.set_title(cells[0].precision, fontsize=10)
    figure.savefig(path, dpi=90, metadata={"Software": ""})
