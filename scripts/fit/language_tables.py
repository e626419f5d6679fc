"""What public tables of language models call devices, models and precisions, and how large each model is."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit._decode import decode_family
from edgekit.profiles.loader import HERE, load_device

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from edgekit._values import Device
    from scripts.fit.tables import Row

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
# The page's public case: its rows are in no fit.
KEPT_ASIDE = "Cosmos-Reason2-2B"
LAYERS_A_BLOCK = 9  # query, key, value, two products of attention, output, gate, up, down


@dataclass(frozen=True)
class Subject:
    """Whose figure a row is: numbers of all weights and of the output layer's, layers that have MACs."""

    device: Device
    precision: str
    model: str
    weights: int
    head: int
    layers: int

    @property
    def family(self) -> str:
        """Devices that decode alike."""
        return decode_family(self.device)


def list_subjects(
    rows: Iterable[tuple[str, str, str, *tuple[float, ...]]],
) -> Iterator[tuple[Subject, tuple[float, ...]]]:
    """Rows of (device, model, precision, figures), each once, where the model's size is known."""
    sizes = tomllib.loads((Path(__file__).parent / "language_models.toml").read_text(encoding="utf-8"))
    for device, model, precision, *figures in dict.fromkeys(rows):
        if model in sizes and precision in PRECISIONS:
            size, known = sizes[model], load_device(HERE / "devices" / f"{device}.toml")
            layers = LAYERS_A_BLOCK * size["blocks"] + 1
            subject = Subject(known, PRECISIONS[precision], model, size["weights"], size["head"], layers)
            yield subject, tuple(figures)


def measured_rows(rows: Iterable[Row]) -> Iterator[tuple[Row, tuple[str, str, str]]]:
    """Rows of compiled engines on devices known here, with (device, model, precision)."""
    for row in rows:
        model = row["model"].split(" (")[0]
        if row["device"] in OTHERS and row["runtime"] in RUNTIMES and model != KEPT_ASIDE:
            yield row, (OTHERS[row["device"]], NAMES.get(model, model), row["precision"])
