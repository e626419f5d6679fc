"""The page's first table: each aim beside what was reached, by the results and by one timed command."""

from __future__ import annotations

import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import onnx
from onnx import TensorProto, helper

from scripts.fit.score import score, score_cells

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from scripts.fit.page import Results

# Neighbours of one vendor that the sibling aim was set on.
NEIGHBOURS = (
    ("galaxy-s24", "qcs8550"), ("galaxy-s24", "galaxy-s25"), ("galaxy-s25", "snapdragon-8-elite-gen-5"),
    ("galaxy-s24", "snapdragon-x-elite"),
)  # fmt: skip
LAYERS, WIDTH = 55, 160  # of a network whose file holds 50 MB


def rate_numbers(results: Results) -> list[list[str]]:
    """Rows of (what, aim, reached, met or missed)."""
    whole = score_cells(results.cells)
    near = _errors(pair.errors for pair in results.pairs if (pair.source, pair.target) in NEIGHBOURS)
    every = _errors(pair.errors for pair in results.pairs if pair.source < pair.target)
    jetson = score(_errors(cell.held.values() for cell in results.jetsons)).error
    decode = _errors(row.errors for row in results.decode if row.device)
    close = sum(abs(math.exp(error) - 1) <= 0.25 for error in decode) / len(decode)
    seconds, users = time_estimate()
    return [
        _row("Qualcomm NPUs, models held out: median", "at most 15 %", whole.error, lambda x: x <= 0.15),
        _row("... within 30 %", "at least 80 %", whole.within_30, lambda x: x >= 0.8),
        _row("... 80 % interval covers", "75 to 88 %", whole.coverage or 0.0, lambda x: 0.75 <= x <= 0.88),
        _row("... its width", "at most 2.5x", whole.width or 0.0, lambda x: x <= 2.5, "x"),
        _row("a sibling's measurement, neighbours: median error", "at most 6 %", score(near).error, _six),
        _row("... all pairs of devices", "at most 6 %", score(every).error, _six),
        _row("Jetsons, YOLO11, a size held out: median error", "at most 10 %", jetson, lambda x: x <= 0.1),
        _row("decode steps on devices with a fit: median", "at most 25 %", score(decode).error, _quarter),
        _row("... within 25 %", "all", close, lambda x: x == 1.0),
        *(_case(case.name, _off(results, case.name)) for case in results.case),
        _row(f"estimate of a 50 MB model on all devices ({users:.1f} s of CPU)", "under 3 s", seconds,
             lambda x: x < 3, " s"),
    ]  # fmt: skip


def _six(value: float) -> bool:
    return value <= 0.06


def _quarter(value: float) -> bool:
    return value <= 0.25


def _errors(rows: Iterable[Iterable[float]]) -> list[float]:
    return [error for row in rows for error in row]


def _off(results: Results, name: str) -> float:
    case = next(row for row in results.case if row.name == name)
    factor = 1e-6 if case.predicted.unit == "B" else 1.0
    return abs(factor * (case.predicted.value or 0.0) / case.measured - 1)


def _case(name: str, off: float) -> list[str]:
    words = f"the public vision-language run: {name.replace('_', ' ')} off by"
    return _row(words, "at most 25 %", off, _quarter)


def _row(what: str, aim: str, value: float, met: Callable[[float], bool], unit: str = "%") -> list[str]:
    said = f"{100 * value:.1f} %" if unit == "%" else f"{value:.2f}{unit}"
    return [what, aim, said, "met" if met(value) else "missed: [where it stops](#where-the-misses-stop)"]


def time_estimate() -> tuple[float, float]:
    """Seconds on the clock and of CPU that `edgekit estimate` takes for a network of 50 MB; best of three."""
    with tempfile.TemporaryDirectory() as name:
        path = Path(name) / "model.onnx"
        onnx.save(_draw(), path)
        return min(
            _time([str(Path(sys.executable).with_name("edgekit")), "estimate", str(path)]) for _ in range(3)
        )


def _time(command: Sequence[str]) -> tuple[float, float]:
    start, before = time.perf_counter(), os.times()
    subprocess.run(command, check=True, capture_output=True)
    after = os.times()
    users = after.children_user + after.children_system - before.children_user - before.children_system
    return time.perf_counter() - start, users


def _draw() -> onnx.ModelProto:
    """3x3 convolutions and ReLUs in a row, [1, 160, 56, 56] -> the same."""
    bits = bytes(4 * WIDTH * WIDTH * 9)
    weights = [
        helper.make_tensor(f"w{at}", TensorProto.FLOAT, [WIDTH, WIDTH, 3, 3], bits, raw=True)
        for at in range(LAYERS)
    ]
    nodes = []
    for at in range(LAYERS):
        nodes.append(helper.make_node("Conv", [f"x{at}", f"w{at}"], [f"c{at}"], pads=[1] * 4))
        nodes.append(helper.make_node("Relu", [f"c{at}"], [f"x{at + 1}"]))
    shape = [1, WIDTH, 56, 56]
    ends = [helper.make_tensor_value_info(end, TensorProto.FLOAT, shape) for end in ("x0", f"x{LAYERS}")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
