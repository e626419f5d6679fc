"""A decode step of a language model: bound by the memory that its weights and its KV cache are read from."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._values import Measurement
from edgekit._work import WEIGHT_BYTES
from edgekit.profiles.read_fits import decode_fits

if TYPE_CHECKING:
    from edgekit._values import Device
    from edgekit._work import Work

# Shares of the memory bandwidth that public decode figures reach: 23 to 88 %, most around 60.
_RULE = (0.25, 0.6, 0.85)


def decode_family(device: Device) -> str:
    """Devices that decode alike: Qualcomm's NPUs, else those of one toolchain."""
    return "hexagon" if "Hexagon" in device.facts.get("npu", "") else device.toolchain


def predict_step(work: Work, device: Device, precision: str, *, cache_bytes: float) -> Measurement:
    """Milliseconds of one step that reads every weight once and `cache_bytes` of cache."""
    bandwidth = device.figures.get("dram_bandwidth")
    if bandwidth is None:
        words = "the device's memory bandwidth is not published; measure a step"
        return Measurement("latency", None, "ms", "unknown", words)
    gigabytes = (work.read_weights * WEIGHT_BYTES[precision] + cache_bytes) / 1e9
    whole = 1e3 * gigabytes / bandwidth.value
    family = decode_family(device)
    names = {name: f"{name}, which has the same chip" for name in device.same_hardware}
    names |= {device.name: "this device", "": f"{family} devices"}
    for name, whose in names.items():
        fit = decode_fits().get((family, name, precision))
        if fit is not None:
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
