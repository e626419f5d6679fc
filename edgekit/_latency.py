"""Latency of one inference on one device: measured, a sibling's, a family fit's, or the spec sheet's."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from edgekit._fallback import cpu_share
from edgekit._likeness import pull_towards
from edgekit._results import Measurement
from edgekit._work import COMPUTED_IN
from edgekit.profiles.read_fits import (
    FamilyFit,
    capability_fits,
    cpu_fits,
    family_fits,
    likeness_fits,
    sibling_fits,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit._fallback import Split
    from edgekit._values import Device, Figure
    from edgekit._work import Work
    from edgekit.profiles.read_fits import CapabilityFit, SiblingFit

# Figures that give the peak of a precision. Sparse peaks and those of other units are left out.
_PEAKS = {"int8": ("int8_dense", "neural_engine_peak"), "fp16": ("fp16_dense",), "fp32": ("fp32",)}
#: Times the roofline, where nothing was fitted: medians lie at 1.1 to 4.5, times 0.4 to 3 around 2.5.
SPEC_BAND = (1.0, 2.5, 7.5)
# A fit says nothing of models far smaller or larger than its own: beyond these its band is twice as wide
# on either side, a rule that was not fitted.
_BEYOND = 2.0
# CPUs of other devices are up to so many times faster or slower than those of the fit: a rule.
_OTHER_CPUS = 3.0
#: The source of a latency that was typed.
GIVEN = "given by the user"
RUNTIMES = {"litert": "litert", "ort-mobile": "onnxruntime", "qnn": "qnn", "tensorrt": "tensorrt"}


@dataclass(frozen=True)
class Question:
    """What is asked of a device: this work in this precision; `measured`: device -> latency of the same work.

    power, energy: device -> what was measured of it there.
    runtime: litert, onnxruntime, qnn or tensorrt; None for that of the device's toolchain.
    split: where some nodes stay on the CPU, both shares; `work` is always the whole model's.
    """

    work: Work
    precision: str
    runtime: str | None = None
    measured: Mapping[str, Measurement] = field(default_factory=dict)
    power: Mapping[str, Measurement] = field(default_factory=dict)
    energy: Mapping[str, Measurement] = field(default_factory=dict)
    split: Split | None = None

    @property
    def computed(self) -> str:
        """The precision of the arithmetic: integer weights alone compute in fp16."""
        return COMPUTED_IN[self.precision]

    def runtime_on(self, device: Device) -> str:
        """The runtime meant on this device."""
        return self.runtime or RUNTIMES.get(device.toolchain, device.toolchain)


def predict_latency(question: Question, device: Device) -> Measurement:
    """Mean latency in ms: measured here, else the closest sibling's, else a fit's, else the spec's.

    A sibling's says nothing of a model that is split: which share of its time the CPU took is not known.
    """
    if device.name in question.measured:
        return question.measured[device.name]
    if question.split is not None:
        return _with_cpu(question, device, question.split)
    family = find_family(question, device)
    if family is None:
        return _from_capability(question, device) or _from_spec(question, device)
    return _from_siblings(question, device) or _from_family(question, device, family)


def find_family(question: Question, device: Device) -> FamilyFit | None:
    """The fit of this device, or of the device whose chip it has."""
    runtime = question.runtime_on(device)
    keys = [(name, runtime, question.computed) for name in device.same_hardware]
    return next((family_fits()[key] for key in keys if key in family_fits()), None)


def sum_ms(fit: FamilyFit, work: Work) -> float:
    """The fit's own figure for this work."""
    total = sum(ms * work.terms[term] for term, ms in fit.ms.items())
    return total * pull_towards(work.terms, likeness_fits()[fit.precision]) if fit.likeness else total


def _with_cpu(question: Question, device: Device, split: Split) -> Measurement:
    """The accelerator's share, each part with a whole model's launch and copies, and the CPU's."""
    alone = replace(question, work=split.accelerator, split=None, measured={})
    rest = predict_latency(alone, device)
    if rest.value is None or rest.interval is None:
        return rest
    fit = cpu_fits()["int8" if question.computed == "int8" else "fp32"]
    gmacs, moved, operators = cpu_share(split.cpu)
    ms = gmacs * fit.gmac_ms + moved * fit.moved_ms + operators * fit.op_ms
    basis = (
        f"spec: {split.parts} parts on the accelerator ({rest.basis.partition(':')[0]}), {split.crossings} "
        f"tensors copied between it and the CPU, nodes there: {split.on_cpu} ({ms:.3g} ms by {fit.points} "
        f"runs of whole models on phone CPUs, {fit.fitted}; others are up to {_OTHER_CPUS:.0f} times faster "
        "or slower, by a rule); a measurement here would narrow it"
    )
    low, high = rest.interval
    ends = (low + ms * fit.low / _OTHER_CPUS, high + ms * fit.high * _OTHER_CPUS)
    return Measurement("latency", rest.value + ms, "ms", "predicted", basis, ends)


def _from_siblings(question: Question, device: Device) -> Measurement | None:
    """By the closest sibling that was measured; None where no pair has fits of both under this runtime."""
    runtime, precision = question.runtime_on(device), question.computed
    found: list[tuple[SiblingFit, str, float]] = []
    for source, measured in question.measured.items():
        fit = sibling_fits().get((source, device.name, precision))
        here, there = (family_fits().get((name, runtime, precision)) for name in (device.name, source))
        if fit is not None and here is not None and there is not None:
            ratio = sum_ms(here, question.work) / sum_ms(there, question.work)
            found.append((fit, source, (measured.value or 0.0) * fit.scale * ratio))
    if not found:
        return None
    fit, source, ms = min(found, key=lambda row: row[0].width)
    basis = (
        f"sibling: measured on {source}{_whence(question.measured[source])}, times the ratio of the two "
        f"devices' fits, from {fit.points} runs on "
        f"both NPUs ({fit.fitted}), median error {100 * fit.error:.0f} %; a measurement on the device would "
        "narrow it"
    )
    return Measurement("latency", ms, "ms", "predicted", basis, (ms * fit.low, ms * fit.high))


def _whence(measured: Measurement) -> str:
    """Where another device's time comes from, unless the user gave it."""
    said = measured.basis.removeprefix("measured: ")
    return "" if said == GIVEN else f" ({said})"


def _from_family(question: Question, device: Device, fit: FamilyFit) -> Measurement:
    ms = sum_ms(fit, question.work)
    low, high, told = _widen(fit, question.work.macs / 1e9)
    whose = "" if fit.device == device.name else f" of {fit.device}, which has the same chip"
    basis = (
        f"family-fit{whose}: {fit.points} runs under {fit.runtime} in {fit.precision} ({fit.fitted}), median "
        f"error {100 * fit.error:.0f} % on models held out, whole model on the accelerator{told}; a "
        "measurement here or on a sibling would narrow it"
    )
    return Measurement("latency", ms, "ms", "predicted", basis, (ms * low, ms * high))


def _from_capability(question: Question, device: Device) -> Measurement | None:
    """By what GPUs of the same design reach of their peak; None where there is no such fit."""
    precision = question.computed
    fit = capability_fits().get((device.facts.get("compute_capability", ""), precision))
    peak, bandwidth = find_peak(device, precision), device.figures.get("dram_bandwidth")
    if fit is None or peak is None or bandwidth is None or question.runtime_on(device) != "tensorrt":
        return None
    gmacs = question.work.macs / 1e9
    ms = fit.layer_mb * question.work.layers / bandwidth.value + 2 * gmacs / peak.value / fit.share
    low, high, told = _widen(fit, gmacs)
    basis = (
        f"family-fit: GPUs of compute capability {fit.capability} reach {100 * fit.share:.0f} % of their "
        f"{precision} peak, and a layer takes as long as moving {fit.layer_mb:.2g} MB, by {fit.points} runs "
        f"({fit.fitted}), median error {100 * fit.error:.0f} % on devices held out{told}; a measurement "
        "would narrow it"
    )
    return Measurement("latency", ms, "ms", "predicted", basis, (ms * low, ms * high))


def _widen(fit: FamilyFit | CapabilityFit, gmacs: float) -> tuple[float, float, str]:
    """The fit's band, wider beyond its sizes, and a remark where it is."""
    if fit.least_gmacs / 2 <= gmacs <= fit.most_gmacs * 2:
        return fit.low, fit.high, ""
    told = f"; outside its sizes of {fit.least_gmacs:.2g} to {fit.most_gmacs:.3g} G MACs"
    return fit.low / _BEYOND, fit.high * _BEYOND, told


def find_peak(device: Device, precision: str) -> Figure | None:
    """The published peak of a precision, in 1e12 operations a second, two to a MAC."""
    return next((device.figures[name] for name in _PEAKS.get(precision, ()) if name in device.figures), None)


def _from_spec(question: Question, device: Device) -> Measurement:
    work, precision = question.work, question.computed
    peak = find_peak(device, precision)
    bandwidth = device.figures.get("dram_bandwidth")
    if peak is None or bandwidth is None:
        lacking = f"{precision} peak" if peak is None else "memory bandwidth"
        basis = f"the device's {lacking} is not published; measure here or on a sibling"
        return Measurement("latency", None, "ms", "unknown", basis)
    moved = work.weight_bytes(question.precision) + work.activation_bytes(question.precision)
    roofline = 1e3 * max(2 * work.macs / (peak.value * 1e12), moved / (bandwidth.value * 1e9))
    low, middle, high = SPEC_BAND
    basis = (
        f"spec: {middle:.2g} times the roofline, by a rule of thumb that was not fitted; a measurement would "
        "narrow it"
    )
    return Measurement(
        "latency", roofline * middle, "ms", "predicted", basis, (roofline * low, roofline * high)
    )
