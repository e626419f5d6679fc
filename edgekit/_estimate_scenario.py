"""A request of several components on one device: time to first token, tokens a second, memory, energy."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekit._decode import predict_step
from edgekit._latency import Question, predict_latency
from edgekit._power import predict_power
from edgekit._predict import energy_of, predict_memory
from edgekit._prefill import predict_prefill
from edgekit._recipe_values import parse_shapes
from edgekit._results import Measurement
from edgekit._work import ACTIVATION_BYTES, Work
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from edgekit._scenario import Part, Scenario, Step
    from edgekit._values import Device, TensorInfo

CACHE_BYTES = 2  # KV caches are held in fp16


@dataclass(frozen=True)
class CountedPart:
    """A component's work in its precision, the bytes of its KV cache, and those of one more token.

    measured: device -> latency of one run of the component there.
    """

    work: Work
    precision: str
    cache: int = 0
    cache_per_token: float | None = None
    measured: Mapping[str, Measurement] = field(default_factory=dict)

    @property
    def activations(self) -> float:
        """Most bytes alive at once beside the cache, which the graph takes as inputs."""
        inputs = self.cache / CACHE_BYTES * ACTIVATION_BYTES[self.precision]
        return max(self.work.peak_bytes(self.precision) - inputs, 0.0)


@dataclass(frozen=True)
class StepEstimate:
    """One line of the request: a single run's milliseconds, and how often it runs."""

    component: str
    phase: str
    repeat: int
    latency: Measurement


@dataclass(frozen=True)
class RequestEstimate:
    """One device: the figures of the whole request, then its steps."""

    figures: tuple[Measurement, ...]
    steps: tuple[StepEstimate, ...]


def part_shapes(part: Part, inputs: Sequence[TensorInfo], sizes: Mapping[str, int]) -> dict[str, str]:
    """Input -> dims as `--shape` takes them: words of [sizes] filled in, from patterns and from the file.

    UsageError for a pattern that meets no input.
    """
    found = {
        info.name: ",".join(str(sizes.get(str(dim), dim)) for dim in info.shape)
        for info in inputs
        if any(isinstance(dim, str) and dim in sizes for dim in info.shape)
    }
    for pattern, dims in part.shape.items():
        names = [info.name for info in inputs if fnmatchcase(info.name, pattern)]
        if not names:
            raise UsageError(
                f"component '{part.name}' has no input '{pattern}'",
                fix=f"its inputs: {', '.join(info.name for info in inputs)}",
            )
        words = [str(sizes.get(dim.strip(), dim.strip())) for dim in dims.split(",")]
        found |= dict.fromkeys(names, ",".join(words))
    return found


def count_cache(
    part: Part, inputs: Sequence[TensorInfo], sizes: Mapping[str, int]
) -> tuple[int, float | None]:
    """Bytes of the KV cache, the inputs that `cache` names, and of one more token (None: unknown)."""
    shapes = part_shapes(part, inputs, sizes)
    cached = [info for info in inputs if any(fnmatchcase(info.name, pattern) for pattern in part.cache)]
    if part.cache and not cached:
        raise UsageError(
            f"component '{part.name}' has no input '{part.cache[0]}' to hold a cache",
            fix=f"its inputs: {', '.join(info.name for info in inputs)}",
        )
    total, per_token = 0, 0.0
    for info in cached:
        dims = parse_shapes({info.name: shapes[info.name]})[info.name] if info.name in shapes else ()
        known = [dim.high for dim in dims] or [dim for dim in info.shape if isinstance(dim, int)]
        count = 1
        for size in known:
            count *= size
        total += count * CACHE_BYTES
        length = _length(part, info, sizes)
        per_token += count * CACHE_BYTES / length if length else float("nan")
    return total, None if math.isnan(per_token) else per_token


def _length(part: Part, info: TensorInfo, sizes: Mapping[str, int]) -> int | None:
    """How many tokens a cache input holds: the word of [sizes] in its shape."""
    typed = next((dims for name, dims in part.shape.items() if fnmatchcase(info.name, name)), "")
    words = [word.strip() for word in typed.split(",")] + [str(dim) for dim in info.shape]
    return next((sizes[word] for word in words if word in sizes), None)


def estimate_request(
    scenario: Scenario, parts: Mapping[str, CountedPart], device: Device, question: Question
) -> RequestEstimate:
    """Every step's latency and what they make together; `question` gives precision and runtime."""
    steps = tuple(_estimate_step(step, parts[step.component], device, question) for step in scenario.steps)
    power = predict_power(device)
    whole = _sum("latency", [(step.latency, step.repeat) for step in steps])
    first = _sum("time_to_first_token", [(s.latency, s.repeat) for s in _before_decode(steps)])
    memory = predict_memory(
        device,
        weights=_weight_bytes(scenario, parts),
        activations=max(part.activations for part in parts.values()) + sum(p.cache for p in parts.values()),
        runtime=question.runtime_on(device),
    )
    energy = energy_of(whole, power)
    figures = [whole, *((first,) if any(s.phase == "decode" for s in steps) else ())]
    figures += [*_speed(steps, device), memory, power, energy, *_battery(energy, device)]
    return RequestEstimate(tuple(figures), steps)


def _estimate_step(step: Step, part: CountedPart, device: Device, question: Question) -> StepEstimate:
    own = replace(question, work=part.work, precision=part.precision, measured=part.measured)
    if device.name in part.measured:
        latency = predict_latency(own, device)
    elif step.phase == "decode":
        latency = predict_step(own, device, cache_bytes=part.cache)
    elif step.phase == "prefill":
        latency = predict_prefill(own, device)
    else:
        latency = predict_latency(own, device)
    return StepEstimate(step.component, step.phase, step.repeat, latency)


def _weight_bytes(scenario: Scenario, parts: Mapping[str, CountedPart]) -> float:
    """All components' weights; of those that share theirs, the most that one of them holds."""
    held: dict[str, float] = {}
    for name, part in parts.items():
        owner = scenario.parts[name].weights_of or name
        held[owner] = max(held.get(owner, 0.0), part.work.weight_bytes(part.precision))
    return sum(held.values())


def _before_decode(steps: Sequence[StepEstimate]) -> list[StepEstimate]:
    """What runs before the first decode step."""
    first = next((index for index, step in enumerate(steps) if step.phase == "decode"), len(steps))
    return list(steps[:first])


def _sum(metric: str, rows: Sequence[tuple[Measurement, int]]) -> Measurement:
    """Repeats added up; ends are added to ends, as if every step erred alike."""
    unknown = next((row for row, _ in rows if row.value is None), None)
    if unknown is not None:
        return Measurement(metric, None, "ms", "unknown", unknown.basis)
    value = low = high = 0.0
    for row, repeat in rows:
        assert row.value is not None
        ends = row.interval or (row.value, row.value)
        value, low, high = value + repeat * row.value, low + repeat * ends[0], high + repeat * ends[1]
    bases = dict.fromkeys(row.basis.partition(":")[0] for row, _ in rows)
    basis = f"sum of steps by {', '.join(bases)}; ends added as if all steps erred alike"
    return Measurement(metric, value, "ms", "predicted", basis, (low, high))


def _speed(steps: Sequence[StepEstimate], device: Device) -> list[Measurement]:
    """Tokens a second while decoding, and after ten minutes where the device's throttling is known."""
    decoding = [step for step in steps if step.phase == "decode"]
    if not decoding:
        return []
    runs = max(step.repeat for step in decoding)
    own = [step.latency for step in decoding if step.repeat == runs]
    token = _sum("latency", [(latency, 1) for latency in own])
    basis = own[0].basis if len(own) == 1 else token.basis
    if not token.value or token.interval is None:
        words = basis if token.value is None else "a decode step that reads no weights takes no time"
        return [Measurement("tokens_per_s", None, "tokens/s", "unknown", words)]
    value, ends = 1e3 / token.value, (1e3 / token.interval[1], 1e3 / token.interval[0])
    alone = own[0].kind == "measured" and len(own) == 1
    found = [
        Measurement("tokens_per_s", value, "tokens/s", "measured", basis)
        if alone
        else Measurement("tokens_per_s", value, "tokens/s", "predicted", basis, ends)
    ]
    share = device.figures.get("sustained_share")
    if share is not None:
        part = share.value / 100
        words = f"{100 * part:.0f} % of it when hot ({share.source}; {share.confidence})"
        hot = (ends[0] * part, ends[1])
        found.append(Measurement("sustained_tokens_per_s", value * part, "tokens/s", "predicted", words, hot))
    return found


def _battery(energy: Measurement, device: Device) -> list[Measurement]:
    """Percent of a charge that one request takes."""
    battery = device.figures.get("battery")
    if battery is None or energy.value is None or energy.interval is None:
        return []
    share = 100 / (battery.value * 3.6e6)
    basis = f"spec: the energy over a full battery ({battery.source}; {battery.confidence})"
    ends = (energy.interval[0] * share, energy.interval[1] * share)
    return [Measurement("battery", energy.value * share, "%", "predicted", basis, ends)]
