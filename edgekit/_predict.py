"""Predicts latency, memory, power and energy of one device from counted work.

Every figure has an interval and says on what it rests: `measured`, `sibling`, `family-fit` or `spec`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit._latency import Question, predict_latency
from edgekit._power import power_of
from edgekit._results import Measurement
from edgekit._work import WEIGHT_BYTES, Work
from edgekit._work_terms import TERMS
from edgekit.profiles.read_runtimes import runtime_memory

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from edgekit._values import Artifact, Device

# Runtimes share, fuse, copy and pad buffers: a first run takes from nothing to twice what a plan by last use
# says. scripts/fit/memory.csv holds what LiteRT (less) and ONNX Runtime (more) took on a Linux host.
_PLAN_SLACK = 2.0
_WITHOUT_TIME = ("memory", "power")
_WHOLE = 0.9  # of the MACs in int8: a network in int8


def predict(question: Question, device: Device) -> tuple[Measurement, ...]:
    """Latency, memory, power, energy and, where heat is known, latency after ten minutes of it."""
    latency = predict_latency(question, device)
    power = question.power.get(device.name) or power_of(question, latency, device)
    memory = predict_memory(
        device,
        weights=question.work.weight_bytes(question.precision),
        activations=question.work.peak_bytes(question.precision),
        runtime=question.runtime_on(device),
    )
    energy = question.energy.get(device.name) or energy_of(latency, power)
    return (latency, memory, power, energy, *sustained(latency, device))


def foretell(work: Mapping[str, Any] | None, artifact: Artifact, device: Device) -> tuple[Measurement, ...]:
    """What `estimate` says of an artifact whose float graph's `work` a bundle holds; known figures only.

    Of one that a compiler left partly on the CPU no latency: which nodes those are, the bundle does not tell.
    Nothing for a bundle of another edgekit's terms, and for INT8 that holds fewer than 90 % of the MACs:
    fits are of whole networks in one precision.
    """
    counted = read_work(work, artifact)
    if counted is None:
        return ()
    return tellable(predict(Question(counted, artifact.variant), device), [artifact])


def tellable(figures: Iterable[Measurement], artifacts: Iterable[Artifact]) -> tuple[Measurement, ...]:
    """The known ones; none of time where a compiler left operators of an artifact on the CPU."""
    split = any(placement.fallback for one in artifacts for placement in one.placements)
    return tuple(
        figure
        for figure in figures
        if figure.value is not None and not (split and figure.metric not in _WITHOUT_TIME)
    )


def read_work(work: Mapping[str, Any] | None, artifact: Artifact) -> Work | None:
    """The `work` that a bundle holds, where `foretell` can use it for an artifact."""
    if work is None or set(work["terms"]) != set(TERMS) or artifact.variant not in WEIGHT_BYTES:
        return None
    macs = artifact.macs
    if artifact.variant == "int8" and macs is not None and macs.int8 < _WHOLE * macs.total:
        return None
    return Work(**work)


def predict_memory(device: Device, *, weights: float, activations: float, runtime: str) -> Measurement:
    """Bytes while it runs: weights, live activations (a KV cache among them) and the runtime's own."""
    own = runtime_memory().get(runtime)
    if own is None:
        return Measurement(
            "memory", None, "B", "unknown", f"what {runtime} takes for itself is not known; profile it"
        )
    value = weights + activations + own.typical
    interval = (weights + own.least, weights + _PLAN_SLACK * activations + own.most)
    free = free_memory(device)
    room = f"; {free / 1e9:.3g} GB are left by the system, as a rule of thumb" if free is not None else ""
    basis = f"spec: weights, live activations and the runtime's own ({own.source}){room}"
    return Measurement("memory", value, "B", "predicted", basis, interval)


def free_memory(device: Device) -> float | None:
    """Bytes that the system leaves an application; None where it is not known."""
    whole, kept = (device.figures.get(name) for name in ("memory", "memory_reserved"))
    return None if whole is None or kept is None else 1e9 * (whole.value - kept.value)


def energy_of(latency: Measurement, power: Measurement) -> Measurement:
    """Millijoules: latency times the board's power under load, idle power included."""
    least, most = power.interval or (power.value, power.value)
    if latency.value is None or power.value is None or not least or most is None:
        return Measurement(
            "energy", None, "mJ", "unknown", "it takes a latency and the board's power under load"
        )
    low, high = latency.interval or (latency.value, latency.value)
    basis = (
        "spec: the latency times the board's power under load, idle included; a power meter would narrow it"
    )
    interval = (low * least, high * most)
    return Measurement("energy", latency.value * power.value, "mJ", "predicted", basis, interval)


def sustained(latency: Measurement, device: Device) -> tuple[Measurement, ...]:
    """Latency after ten minutes of full load; nothing where nobody published how the device throttles."""
    share = device.figures.get("sustained_share")
    if share is None or latency.value is None:
        return ()
    slower = 100 / share.value
    low, high = latency.interval or (latency.value, latency.value)
    basis = f"{latency.kind}, {slower:.2g} times slower when hot ({share.source}; {share.confidence})"
    value = latency.value * slower
    return (Measurement("sustained_latency", value, "ms", "predicted", basis, (low, high * slower)),)
