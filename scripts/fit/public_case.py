"""A public run of a whole vision-language model that no fit has seen, beside what `estimate` says of it."""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import edgekit
from scripts.fit.drawn_vlm import draw

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._results import Measurement
    from scripts.fit.tables import Row

MODEL, RUNTIME, DEVICE = "Cosmos-Reason2-2B", "TensorRT Edge-LLM", "jetson-orin-nano-super"
PRECISION = "w4,vision=fp16,embedding=fp16"
# A picture of 494 tokens (2 x 2 patches each) in a prompt of 512; on average 64 tokens follow it already.
SCENARIO = """
[sizes]
patches = 1976
prompt = 512
past = 576
tokens = 127

[component.vision]
file = "vision.onnx"
[component.embedding]
file = "embedding.onnx"
[component.prefill]
file = "prefill.onnx"
[component.decode]
file = "decode.onnx"
cache = ["past_*"]
weights_of = "prefill"

[[step]]
component = "vision"
phase = "encode"
feeds = "prefill"
[[step]]
component = "embedding"
phase = "encode"
feeds = "prefill"
[[step]]
component = "prefill"
feeds = "decode"
[[step]]
component = "decode"
repeat = "tokens"
"""
# Metric of the table -> what it is called on the page.
METRICS = {
    "ViT encode, 494 image tokens (~1976 patches)": "vision",
    "prefill 512 tokens": "prefill",
    "decode": "tokens_per_s",
    "TTFT image": "time_to_first_token",
    "peak unified memory": "memory",
}


@dataclass(frozen=True)
class Case:
    """One figure: measured by others, and predicted; both in the unit named."""

    name: str
    unit: str
    measured: float
    predicted: Measurement


def compare_case(measured: list[Row]) -> list[Case]:
    """Every metric of the public run in the order of METRICS; memory in GB."""
    known = {
        METRICS[row["metric"]]: (float(row["value"]), row["unit"])
        for row in measured
        if row["model"].startswith(MODEL) and row["runtime"] == RUNTIME and row["metric"] in METRICS
    }
    said = _estimate()
    return [Case(name, known[name][1], known[name][0], said[name]) for name in METRICS.values()]


def _estimate() -> Mapping[str, Measurement]:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        draw(folder)
        (folder / "scenario.toml").write_text(SCENARIO, encoding="utf-8")
        row = edgekit.estimate(folder, devices=DEVICE, precision=PRECISION).devices[0]
    steps = {step.component: step.latency for step in row.steps}
    return steps | {figure.metric: figure for figure in row.figures}
