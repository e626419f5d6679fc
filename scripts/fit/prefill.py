"""Prompts of language models: a time a layer and one a MAC, one shape a family, one factor a device."""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from scripts.fit.language_tables import NAMES, list_subjects, measured_rows
from scripts.fit.regress import Cells, fit_family
from scripts.fit.tables import DEVICES, Row

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from scripts.fit.regress import Array

# A prompt processor of AI Hub takes 128 tokens a run; the least time to first token is one run.
HUB_TOKENS, HUB_CONTEXT = 128, "4096"
LEAST_MODELS = 3
START = np.full(2, -math.log(2))


@dataclass(frozen=True)
class Prompt:
    """One public figure: milliseconds for a prompt, layers that have MACs, and G MACs."""

    family: str
    device: str
    precision: str
    model: str
    ms: float
    layers: int
    gmacs: float


@dataclass(frozen=True)
class Prefill:
    """A device's milliseconds a layer and a G MAC; errors of its whole family, models held out."""

    family: str
    device: str
    precision: str
    layer_ms: float
    gmac_ms: float
    errors: tuple[float, ...]


def read_prompts(hub: list[Row], measured: list[Row]) -> list[Prompt]:
    """Every prompt whose model's size is known; the output layer computes one token only."""
    found = []
    for subject, (tokens, ms) in list_subjects([*_hub(hub), *_measured(measured)]):
        gmacs = (subject.weights - subject.head) * tokens / 1e9
        place = subject.family, subject.device.name, subject.precision, subject.model
        found.append(Prompt(*place, ms, subject.layers, gmacs))
    return found


def _hub(rows: list[Row]) -> Iterator[tuple[str, str, str, int, float]]:
    for row in rows:
        known = row["device"] in DEVICES and row["model"] in NAMES
        if known and row["ttft_min_ms"] and row["llm_context"] == HUB_CONTEXT:
            ms = float(row["ttft_min_ms"])
            yield DEVICES[row["device"]], NAMES[row["model"]], row["precision"], HUB_TOKENS, ms


def _measured(rows: list[Row]) -> Iterator[tuple[str, str, str, int, float]]:
    for row, place in measured_rows(rows):
        words = re.fullmatch(r"prefill (\d+) tokens", row["metric"])
        if words:
            yield (*place, int(words[1]), float(row["value"]))


def fit_prefill(prompts: list[Prompt]) -> list[Prefill]:
    """One fit a family and precision with three models or more; a row for each of its devices."""
    made = []
    for family, precision in sorted({(row.family, row.precision) for row in prompts}):
        rows = [row for row in prompts if (row.family, row.precision) == (family, precision)]
        if len({row.model for row in rows}) < LEAST_MODELS:
            continue
        devices = sorted({row.device for row in rows})
        data, unit = _lay_out(rows, devices)
        shape, factors = _fit(data, np.full(len(rows), True))
        errors = tuple(_hold_out(data))
        for index, device in enumerate(devices):
            layer, gmac = np.exp(shape + factors[index]) / unit
            made.append(Prefill(family, device, precision, float(layer), float(gmac), errors))
    return made


def _lay_out(rows: list[Prompt], devices: list[str]) -> tuple[Cells, Array]:
    terms = np.array([[row.layers, row.gmacs] for row in rows])
    unit = np.median(terms, axis=0)
    cells = np.array([devices.index(row.device) for row in rows])
    logs = np.array([math.log(row.ms) for row in rows])
    return Cells(terms / unit, logs, cells, np.array([row.model for row in rows])), unit


def _fit(data: Cells, kept: NDArray[np.bool_]) -> tuple[Array, Array]:
    offsets = np.array([np.median(data.logs[data.cells == cell]) for cell in range(data.count)])
    return fit_family(data, kept, START, offsets, 6)


def _hold_out(data: Cells) -> Iterator[float]:
    """Log of predicted over measured; a model is held out on all devices, each keeps its factor.

    A device with one model alone has no factor without it, and says nothing.
    """
    for model in sorted(set(data.groups)):
        kept = data.without(model)
        shape, factors = _fit(data, kept)
        made = np.log(data.terms @ np.exp(shape)) + factors[data.cells] - data.logs
        yield from (float(made[at]) for at in np.flatnonzero(~kept) if data.cells[at] in data.cells[kept])
