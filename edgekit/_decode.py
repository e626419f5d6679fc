"""A decode step of a language model: bound by the memory that its weights and its KV cache are read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._latency import RUNTIMES
from edgekit._results import Measurement
from edgekit._work import WEIGHT_BYTES
from edgekit.profiles.read_fits import decode_fits

if TYPE_CHECKING:
    from edgekit._latency import Question
    from edgekit._values import Device
    from edgekit.profiles.read_fits import DecodeFit

# Shares of the memory bandwidth that public decode figures reach: 23 to 88 %, most around 60.
_RULE = (0.25, 0.6, 0.85)
_ON_HEXAGON = ("litert", "onnxruntime", "qnn")


def decode_family(device: Device) -> str:
    """Devices that decode alike: Qualcomm's NPUs, else those of one toolchain."""
    return "hexagon" if "Hexagon" in device.facts.get("npu", "") else device.toolchain


def fitted_runtime(question: Question, device: Device) -> bool:
    """Whether public runs of language models, by the device's own toolchain, stand for the runtime asked for.

    A Hexagon runs the same program under each of its runtimes.
    """
    asked, own = question.runtime_on(device), RUNTIMES.get(device.toolchain, device.toolchain)
    return asked == own or (decode_family(device) == "hexagon" and asked in _ON_HEXAGON)


def predict_step(question: Question, device: Device, *, cache_bytes: float) -> Measurement:
    """Milliseconds of one step that reads every weight once and `cache_bytes` of cache."""
    bandwidth = device.figures.get("dram_bandwidth")
    if bandwidth is None:
        words = "the device's memory bandwidth is not published; measure a step"
        return Measurement("latency", None, "ms", "unknown", words)
    work, precision = question.work, question.precision
    gigabytes = (work.read_weights * WEIGHT_BYTES[precision] + cache_bytes) / 1e9
    whole = 1e3 * gigabytes / bandwidth.value
    found = _find_fit(question, device)
    if found is not None:
        fit, whose = found
        ms = fit.layer_ms * work.layers + whole / fit.share
        speed = f"{100 * fit.share:.0f} % of its bandwidth, and {1e3 * fit.layer_ms:.2g} us a layer"
        basis = (
            f"family-fit: a decode step is bound by memory ({speed}); {fit.points} public figures of "
            f"{whose}, median error {100 * fit.error:.0f} % on models held out; a measured step would "
            "narrow it"
        )
        return Measurement("latency", ms, "ms", "predicted", basis, (ms * fit.low, ms * fit.high))
    low, middle, high = _RULE
    share = f"{100 * middle:.0f} % of the memory bandwidth"
    basis = f"spec: {share}, a rule of thumb; a measured step would narrow it"
    return Measurement("latency", whole / middle, "ms", "predicted", basis, (whole / high, whole / low))


def _find_fit(question: Question, device: Device) -> tuple[DecodeFit, str] | None:
    """The closest fit, of this device, its chip or its family, and whose it is."""
    if not fitted_runtime(question, device):
        return None
    family = decode_family(device)
    names = {name: f"{name}, which has the same chip" for name in device.same_hardware}
    names |= {device.name: "this device", "": f"{family} devices"}
    found = ((decode_fits().get((family, name, question.precision)), whose) for name, whose in names.items())
    return next(((fit, whose) for fit, whose in found if fit is not None), None)
