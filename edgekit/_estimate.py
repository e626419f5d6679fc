"""Ranks devices for a float model before anything is converted: counted once, predicted for each."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from typing import TYPE_CHECKING, TypedDict

from edgekit._budget import judge_budget, parse_budget
from edgekit._estimate_field import read_field
from edgekit._estimate_scenario import CountedPart, count_cache, estimate_request, part_shapes
from edgekit._fallback import Split, select_nodes, split_work
from edgekit._inspect import open_words, prepare_open
from edgekit._latency import GIVEN, RUNTIMES, Question
from edgekit._predict import predict
from edgekit._recipe_values import parse_shapes
from edgekit._results import Measurement
from edgekit._scenario import load_scenario
from edgekit._work import WEIGHT_BYTES, Work, count_work
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from edgekit._estimate_scenario import StepEstimate
    from edgekit._recipe_values import Shape
    from edgekit._results import Verdict
    from edgekit._scenario import Part, Scenario
    from edgekit._values import Component, Device, ShapeSpec


class EstimateWords(TypedDict, total=False):
    """What `estimate` takes; `measured` maps devices to latencies (`4.2ms`) of this very model.

    Of a scenario, DEVICE/COMPONENT is mapped to the latency of one run of that component.
    measured_field: the measured.json files of `drift`, whose figures count so too.
    on_cpu: names (patterns) or operators of nodes that stay on the CPU; of a single model.
    runtime: litert, onnxruntime, qnn or tensorrt instead of each device's own. scenario: a scenario.toml
    instead of a model. precision: of all components, and of single ones, as `w4,vision=fp16`.
    """

    devices: str | Sequence[str]
    shapes: str | Sequence[str] | Mapping[str, Shape] | None
    precision: str
    runtime: str | None
    on_cpu: str | Sequence[str]
    budget: str | Mapping[str, object] | None
    measured: Mapping[str, str]
    measured_field: str | Path | Sequence[str | Path]
    scenario: str | Path | None


@dataclass(frozen=True)
class DeviceEstimate:
    """One device: its figures (each with basis and interval) and a verdict a budget line.

    steps: those of a scenario, each with the latency of one run.
    """

    device: str
    title: str
    figures: tuple[Measurement, ...]
    verdicts: tuple[Verdict, ...]
    steps: tuple[StepEstimate, ...] = ()

    @property
    def latency(self) -> Measurement:
        """Of one inference, or of a whole request."""
        return next(row for row in self.figures if row.metric == "latency")


@dataclass(frozen=True)
class Estimate:
    """All devices, the fastest first and those without a latency last; `work` by component.

    split: the two shares of a model of which some nodes stay on the CPU.
    """

    work: Mapping[str, Work]
    precision: str
    devices: tuple[DeviceEstimate, ...]
    title: str = ""
    cache_per_token: Mapping[str, float | None] = field(default_factory=dict)
    split: Split | None = None


def estimate_model(path: Path, known: Sequence[Device], words: EstimateWords) -> Estimate:
    """Predict `path` on `known`, or on those that words name; UsageError for words it cannot honour."""
    chosen, question = _ask(known, words)
    _check_precision(question.precision)
    component = _prepare(path, words)
    work, split = _count_component(component, path), _split(component, words)
    question = replace(question, work=work, split=split)
    seen = read_field(words.get("measured_field", ()), {"": question}, _by_name(known))
    measured = _unite(_measured(words, known), seen.latency.get("", {}))
    question = replace(question, measured=measured, power=seen.power, energy=seen.energy)
    limits = parse_budget(words.get("budget"))
    rows = []
    for device in chosen:
        figures = predict(question, device)
        rows.append(DeviceEstimate(device.name, device.title, figures, judge_budget(limits, figures)))
    return Estimate({"model": work}, question.precision, tuple(sorted(rows, key=_order)), split=split)


def estimate_scenario(path: Path, known: Sequence[Device], words: EstimateWords) -> Estimate:
    """Predict the request that a scenario.toml describes; UsageError as `load_scenario` raises it."""
    chosen, question = _ask(known, words)
    if words.get("shapes"):
        raise UsageError("'shapes' is given beside a scenario", fix="write it into the scenario")
    if words.get("on_cpu"):
        raise UsageError("'on_cpu' is given beside a scenario", fix="estimate its components one by one")
    scenario = load_scenario(path)
    measured = _measured_parts(words, scenario, known)
    limits = parse_budget(words.get("budget"))
    forms = _forms(words, scenario)
    parts = {name: _count_part(part, scenario, forms[name]) for name, part in scenario.parts.items()}
    asked = {
        name: replace(question, work=part.work, precision=part.precision) for name, part in parts.items()
    }
    seen = read_field(words.get("measured_field", ()), asked, _by_name(known)).latency
    parts = {
        name: replace(part, measured=_unite(measured[name], seen.get(name, {})))
        for name, part in parts.items()
    }
    rows = []
    for device in chosen:
        made = estimate_request(scenario, parts, device, question)
        verdicts = judge_budget(limits, made.figures)
        rows.append(DeviceEstimate(device.name, device.title, made.figures, verdicts, made.steps))
    caches = {name: part.cache_per_token for name, part in parts.items() if part.cache}
    work = {name: part.work for name, part in parts.items()}
    return Estimate(
        work, words.get("precision", "int8"), tuple(sorted(rows, key=_order)), scenario.title, caches
    )


def _forms(words: EstimateWords, scenario: Scenario) -> dict[str, str]:
    """Component -> precision: that of `vision=fp16`, or the word that stands alone."""
    forms = dict.fromkeys(scenario.parts, "int8")
    rows = [word.strip().rpartition("=") for word in words.get("precision", "int8").split(",")]
    alone = [word for name, _, word in rows if not name]
    if len(alone) > 1:
        raise UsageError(
            f"precisions {' and '.join(alone)} are both given",
            fix="name the component of one, as vision=fp16",
        )
    for name, _, word in sorted(rows):  # the word that stands alone comes first
        if name and name not in forms:
            near = get_close_matches(name, forms, n=1)
            hint = f"did you mean '{near[0]}'? " if near else ""
            raise UsageError(
                f"precision '{name}={word}' names no component", fix=f"{hint}known: {', '.join(forms)}"
            )
        _check_precision(word)
        forms |= {name: word} if name else dict.fromkeys(forms, word)
    return forms


def _ask(known: Sequence[Device], words: EstimateWords) -> tuple[list[Device], Question]:
    """The devices that words mean, and the question without its work."""
    _check_words(words)
    named = _by_name(known)
    asked = words.get("devices", ())
    chosen = [_named(name, named) for name in ([asked] if isinstance(asked, str) else asked)]
    devices = {device.name: device for device in chosen or known}
    empty = Work(0, 0, 0, 0, weights=0, activations=0, layers=0, peak_activations=0)
    question = Question(empty, words.get("precision", "int8"), words.get("runtime"))
    return list(devices.values()), question


def _measured(words: EstimateWords, known: Sequence[Device]) -> dict[str, Measurement]:
    """Device -> latency of the model there."""
    named = _by_name(known)
    return {_named(name, named).name: _given(text) for name, text in words.get("measured", {}).items()}


def _unite(given: dict[str, Measurement], seen: Mapping[str, Measurement]) -> dict[str, Measurement]:
    """What was typed and what the field says; UsageError for a device of which both speak."""
    for name in given:
        if name in seen:
            raise UsageError(
                f"the latency on {name} is given twice, typed and by the field", fix="leave one of them out"
            )
    return given | dict(seen)


def _measured_parts(
    words: EstimateWords, scenario: Scenario, known: Sequence[Device]
) -> dict[str, dict[str, Measurement]]:
    """Component -> device -> ms of one run; UsageError for a name that is no DEVICE/COMPONENT."""
    named = _by_name(known)
    found: dict[str, dict[str, Measurement]] = {name: {} for name in scenario.parts}
    for place, text in words.get("measured", {}).items():
        device, _, part = place.partition("/")
        if part not in found:
            raise UsageError(
                f"measured '{place}' names no component",
                fix=f"write DEVICE/COMPONENT; the scenario's components: {', '.join(found)}",
            )
        found[part][_named(device, named).name] = _given(text)
    return found


def _given(text: str) -> Measurement:
    value = parse_budget({"latency": text})["latency"].value
    return Measurement("latency", value, "ms", "measured", f"measured: {GIVEN}")


def _by_name(known: Sequence[Device]) -> dict[str, Device]:
    return {name: device for device in known for name in (device.name, *device.aliases)}


def _check_words(words: EstimateWords) -> None:
    for name in words:
        if name not in EstimateWords.__annotations__:
            raise UsageError(
                f"estimate has no option '{name}'", fix=f"it has: {', '.join(EstimateWords.__annotations__)}"
            )
    runtime = words.get("runtime")
    if runtime is not None and runtime not in RUNTIMES.values():
        near = get_close_matches(runtime, RUNTIMES.values(), n=1)
        hint = f"did you mean '{near[0]}'? " if near else ""
        raise UsageError(
            f"runtime '{runtime}' is unknown", fix=f"{hint}use one of {', '.join(RUNTIMES.values())}"
        )


def _check_precision(word: str) -> None:
    if word not in WEIGHT_BYTES:
        raise UsageError(f"precision '{word}' is unknown", fix=f"use one of {', '.join(WEIGHT_BYTES)}")


def _named(name: str, named: Mapping[str, Device]) -> Device:
    if name not in named:
        near = get_close_matches(name, named, n=3, cutoff=0.5)
        hint = f"did you mean {' or '.join(near)}? " if near else ""
        raise UsageError(f"device '{name}' is unknown", fix=f"{hint}edgekit devices lists them all")
    return named[name]


def _prepare(path: Path, words: EstimateWords) -> Component:
    from edgekit.sources.onnx_file import load_unread

    return _prepare_float(load_unread(path), path, parse_shapes(words.get("shapes")))


def _split(component: Component, words: EstimateWords) -> Split | None:
    """The two shares where words leave nodes on the CPU; None where they leave none."""
    asked = words.get("on_cpu", ())
    left = select_nodes(component.model, [asked] if isinstance(asked, str) else asked)
    return split_work(component.model, left) if left else None


def _count_part(part: Part, scenario: Scenario, precision: str) -> CountedPart:
    """One component of a scenario; its file is read once."""
    from edgekit.sources.graph_io import inputs_of
    from edgekit.sources.onnx_file import load_unread

    component = load_unread(part.file)
    inputs = inputs_of(component.model)
    shapes = part_shapes(part, inputs, scenario.sizes)
    work = _count_component(_prepare_float(component, part.file, parse_shapes(shapes)), part.file)
    return CountedPart(work, precision, *count_cache(part, inputs, scenario.sizes))


def _prepare_float(component: Component, path: Path, shapes: ShapeSpec) -> Component:
    """The graph as conversions see it; UsageError for a quantized one."""
    if any(node.op_type.endswith(("QuantizeLinear", "DequantizeLinear")) for node in component.model.graph):
        raise UsageError(f"{path}: the model is quantized already", fix="give the float model it came from")
    return prepare_open(component, shapes)[0]


def _count_component(component: Component, path: Path) -> Work:
    from edgekit.sources.graph_io import inputs_of

    work = count_work(component.model)
    if work is None:
        missing = open_words(inputs_of(component.model))
        raise UsageError(
            f"{path}: sizes are open, so nothing can be counted", fix=f"give the open sizes{missing}"
        )
    return work


def _order(row: DeviceEstimate) -> tuple[bool, float, str]:
    latency = row.latency.value
    return latency is None, latency or 0.0, row.device
