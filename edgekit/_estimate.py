"""Ranks devices for a float model before anything is converted: counted once, predicted for each."""

from __future__ import annotations

from dataclasses import dataclass
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypedDict

from edgekit._budget import judge_budget, parse_budget
from edgekit._inspect import open_words, prepare_open
from edgekit._predict import predict
from edgekit._recipe import parse_shapes
from edgekit._work import WEIGHT_BYTES, Work, count_work
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._recipe import Shape
    from edgekit._values import Device, Measurement, Verdict


class EstimateWords(TypedDict, total=False):
    """What `estimate` takes; `measured` maps devices to latencies (`4.2ms`) of this very model."""

    devices: str | Sequence[str]
    shapes: str | Sequence[str] | Mapping[str, Shape] | None
    precision: str
    budget: str | Mapping[str, object] | None
    measured: Mapping[str, str]


@dataclass(frozen=True)
class DeviceEstimate:
    """One device: its figures (each with basis and interval) and a verdict a budget line."""

    device: str
    title: str
    figures: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]


@dataclass(frozen=True)
class Estimate:
    """All devices, the fastest first and those without a latency last."""

    work: Work
    precision: str
    devices: tuple[DeviceEstimate, ...]


def estimate_model(path: Path, known: Sequence[Device], words: EstimateWords) -> Estimate:
    """Predict `path` on `known`, or on those that words name; UsageError for words it cannot honour."""
    _check_words(words)
    precision = words.get("precision", "int8")
    limits = parse_budget(words.get("budget"))
    named = {name: device for device in known for name in (device.name, *device.aliases)}
    measured = {
        _named(name, named).name: parse_budget({"latency": text})["latency"].value
        for name, text in words.get("measured", {}).items()
    }
    asked = words.get("devices", ())
    chosen = [_named(name, named) for name in ([asked] if isinstance(asked, str) else asked)]
    work = _count(path, words)
    rows = []
    for device in dict.fromkeys(device.name for device in chosen or known):
        figures = predict(work, named[device], precision, measured=measured)
        verdicts = judge_budget(limits, figures)
        rows.append(DeviceEstimate(device, named[device].title, figures, verdicts))
    return Estimate(work, precision, tuple(sorted(rows, key=_order)))


def _check_words(words: EstimateWords) -> None:
    for name in words:
        if name not in EstimateWords.__annotations__:
            raise UsageError(
                f"estimate has no option '{name}'", fix=f"it has: {', '.join(EstimateWords.__annotations__)}"
            )
    precision = words.get("precision", "int8")
    if precision not in WEIGHT_BYTES:
        raise UsageError(f"precision '{precision}' is unknown", fix=f"use one of {', '.join(WEIGHT_BYTES)}")


def _named(name: str, named: Mapping[str, Device]) -> Device:
    if name not in named:
        near = get_close_matches(name, named, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"device '{name}' is unknown", fix=f"{hint}edgekit devices lists them all")
    return named[name]


def _count(path: Path, words: EstimateWords) -> Work:
    from edgekit.sources.graph_io import inputs_of
    from edgekit.sources.onnx_file import load_onnx

    component = load_onnx(path)
    if any(node.op_type.endswith(("QuantizeLinear", "DequantizeLinear")) for node in component.model.graph):
        raise UsageError(f"{path}: the model is quantized already", fix="give the float model it came from")
    prepared, _ = prepare_open(component, parse_shapes(words.get("shapes")))
    work = count_work(prepared.model)
    if work is None:
        missing = open_words(inputs_of(component.model))
        raise UsageError(
            f"{path}: sizes are open, so nothing can be counted", fix=f"give the open sizes{missing}"
        )
    return work


def _order(row: DeviceEstimate) -> tuple[bool, float, str]:
    latency = row.figures[0].value
    return latency is None, latency or 0.0, row.device
