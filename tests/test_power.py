"""Power by memory traffic, against sums worked out by hand."""

from __future__ import annotations

import tomllib
from typing import TYPE_CHECKING

import pytest

from edgekit._latency import Question
from edgekit._power import power_of, predict_power
from edgekit._predict import predict
from edgekit._results import Measurement
from edgekit._values import Device, Figure
from edgekit._work import Work
from edgekit._work_terms import TERMS
from edgekit.profiles.loader import HERE

if TYPE_CHECKING:
    from collections.abc import Mapping

# 10 M numbers moved by products, 5 M by a layout change, 8 M by functions that are fused; 2 M weights.
TERMS_OF = dict.fromkeys(TERMS, 0.0) | {"moved_deep": 10.0, "moved_layout": 5.0, "moved_elementwise": 8.0}
WORK = Work(
    10**9, 0, 0, 0, weights=3_000_000, activations=9, layers=9, peak_activations=9, read_weights=2_000_000,
    terms=TERMS_OF,
)  # fmt: skip
BOARD = {"power_idle": 4.0, "power_load": 14.0, "dram_bandwidth": 100.0}


def _board(figures: Mapping[str, float], toolchain: str = "tensorrt") -> Device:
    known = {key: Figure(value, "", "a source", "seen") for key, value in figures.items()}
    return Device("board", "board", toolchain, "one", {"one": {"source": "a source"}}, figures=known)


def _fit() -> dict[str, float]:
    (row,) = tomllib.loads((HERE / "fits" / "power.toml").read_text())["fit"]
    return {name: value for name, value in row.items() if name != "runtime"}


def _latency(ms: float) -> Measurement:
    return Measurement("latency", ms, "ms", "measured", "measured: given by the user")


def test_traffic_is_what_is_read_and_written_unless_it_is_fused() -> None:
    assert WORK.traffic_bytes("fp16") == 2 * (10e6 + 5e6) * 2 + 2e6 * 2
    assert WORK.traffic_bytes("int8") == 2 * (10e6 + 5e6) + 2e6


def test_power_lies_between_idle_and_load_by_the_traffic() -> None:
    fit = _fit()
    power = power_of(Question(WORK, "fp16"), _latency(2.0), _board(BOARD))
    # 64 MB in 2 ms are 32 GB/s.
    dynamic = 10.0 * (fit["base"] + (1 - fit["base"]) * 32 / (100 * fit["full"]))
    assert power.value == pytest.approx(4 + dynamic)
    assert power.interval == pytest.approx((4 + dynamic * fit["low"], min(4 + dynamic * fit["high"], 14)))
    assert power.basis.startswith("family-fit: idle (a source; seen)")
    # More than a load uses is no more than the load.
    assert power_of(Question(WORK, "fp16"), _latency(0.1), _board(BOARD)).value == pytest.approx(14)


@pytest.mark.parametrize(
    ("figures", "toolchain", "latency"),
    [
        (BOARD, "litert", 2.0),
        (BOARD, "tensorrt", None),
        ({"power_load": 14.0, "dram_bandwidth": 100.0}, "tensorrt", 2.0),
        ({"power_limit": 15.0}, "tensorrt", 2.0),
        ({}, "tensorrt", 2.0),
    ],
)
def test_without_all_it_takes_the_published_figure_stands(
    figures: Mapping[str, float], toolchain: str, latency: float | None
) -> None:
    device = _board(figures, toolchain)
    known = Measurement("latency", None, "ms", "unknown", "") if latency is None else _latency(latency)
    power = power_of(Question(WORK, "fp16"), known, device)
    assert power == predict_power(device)
    assert not power.basis.startswith("family-fit")


def test_energy_is_the_latency_times_that_power() -> None:
    question = Question(WORK, "fp16", measured={"board": _latency(2.0)})
    rows = {row.metric: row for row in predict(question, _board(BOARD))}
    power = power_of(question, _latency(2.0), _board(BOARD))
    assert power.value is not None
    assert rows["power"] == power
    assert rows["energy"].value == pytest.approx(2.0 * power.value)
