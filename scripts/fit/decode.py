"""Decode steps: a time a layer, and bytes at a share of the memory bandwidth."""

from __future__ import annotations

import math
import tomllib
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from edgekit._decode import decode_family
from edgekit._work import WEIGHT_BYTES
from edgekit.profiles.loader import HERE, load_device
from scripts.fit.regress import Array, fit_logs
from scripts.fit.tables import DEVICES, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

MODELS = Path(__file__).parent / "language_models.toml"
# Model of a table -> the name in language_models.toml.
NAMES = {
    "llama_v3_1_8b_instruct": "Llama 3.1 8B", "llama_v3_8b_instruct": "Llama 3.1 8B",
    "llama_v3_2_1b_instruct": "Llama 3.2 1B", "llama_v3_2_3b_instruct": "Llama 3.2 3B",
    "llama_v2_7b_chat": "Llama 2 7B", "qwen2_5_7b_instruct": "Qwen2.5 7B", "qwen2_7b_instruct": "Qwen2.5 7B",
    "qwen2_5_1_5b_instruct": "Qwen2.5 1.5B", "phi_3_5_mini_instruct": "Phi 3.5 3B",
    "mistral_7b_instruct_v0_3": "Mistral 7B v0.3", "baichuan2_7b": "Baichuan2 7B",
    "falcon_v3_7b_instruct": "Falcon3 7B", "Llama-3.1-8B": "Llama 3.1 8B",
}  # fmt: skip
OTHERS = {
    "Jetson Orin Nano 8GB": "jetson-orin-nano-8gb",
    "Jetson Orin Nano Super 8GB": "jetson-orin-nano-super",
    "Jetson AGX Thor": "jetson-agx-thor",
    "iPhone 17 Pro": "iphone-17-pro",
}
# Precision words of the tables -> edgekit's.
PRECISIONS = {
    "w4": "w4", "w4a16": "w4a16", "INT4": "w4", "W4A16 AWQ": "w4", "INT4 AWQ": "w4", "4bit": "w4",
    "INT4 palettized": "w4", "INT8": "w8",
}  # fmt: skip
# Compiled engines, as edgekit's targets are; interpreters of GGUF files and servers are other software.
RUNTIMES = ("TensorRT Edge-LLM", "MLC", "CoreML (ANE)")
LEAST_MODELS = 3
# The page's public case: its rows are in no fit.
KEPT_ASIDE = "Cosmos-Reason2-2B"
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
    """A device's (or with "" its family's) milliseconds a layer and share of bandwidth; held-out errors."""

    family: str
    device: str
    precision: str
    layer_ms: float
    share: float
    errors: tuple[float, ...]


def read_points(hub: list[Row], measured: list[Row]) -> list[Point]:
    """Every decode figure whose model's size and whose device's bandwidth are known."""
    sizes = tomllib.loads(MODELS.read_text(encoding="utf-8"))
    found = []
    for device, model, precision, speed in dict.fromkeys([*_hub(hub), *_measured(measured)]):
        known = load_device(HERE / "devices" / f"{device}.toml")
        bandwidth = known.figures.get("dram_bandwidth")
        if model in sizes and precision in PRECISIONS and bandwidth is not None:
            kept = PRECISIONS[precision]
            gigabytes = sizes[model]["weights"] * WEIGHT_BYTES[kept] / 1e9
            layers = LAYERS_A_BLOCK * sizes[model]["blocks"] + 1
            place = (decode_family(known), device, kept, model)
            found.append(Point(*place, 1e3 / speed, layers, gigabytes, bandwidth.value))
    return found


LAYERS_A_BLOCK = 9  # query, key, value, two products of attention, output, gate, up, down


def _hub(rows: list[Row]) -> Iterator[tuple[str, str, str, float]]:
    for row in rows:
        if row["tokens_per_s"] and row["device"] in DEVICES and row["model"] in NAMES:
            yield DEVICES[row["device"]], NAMES[row["model"]], row["precision"], float(row["tokens_per_s"])


def _measured(rows: list[Row]) -> Iterator[tuple[str, str, str, float]]:
    for row in rows:
        decodes = row["metric"] in ("decode", "decode bs1") and row["runtime"] in RUNTIMES
        model = row["model"].split(" (")[0]
        if row["device"] in OTHERS and decodes and model != KEPT_ASIDE:
            yield OTHERS[row["device"]], NAMES.get(model, model), row["precision"], float(row["value"])


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
            errors = _hold_out(rows)
            made.append(Decode(family, device, precision, float(layer), 1 / float(inverse), errors))
    return made


def _fit(rows: list[Point]) -> Array:
    """Logs of ms a layer and of one over the share."""
    terms = np.array([[row.layers, 1e3 * row.gigabytes / row.bandwidth] for row in rows])
    return fit_logs(terms, np.array([math.log(row.ms) for row in rows]), np.array(START), 0.05, steps=30)


def _hold_out(rows: list[Point]) -> tuple[float, ...]:
    """Log of predicted over measured milliseconds; each model is held out in turn, on all devices."""
    errors = []
    for model in sorted({row.model for row in rows}):
        layer, inverse = np.exp(_fit([row for row in rows if row.model != model]))
        for row in (row for row in rows if row.model == model):
            made = layer * row.layers + inverse * 1e3 * row.gigabytes / row.bandwidth
            errors.append(math.log(made / row.ms))
    return tuple(errors)
