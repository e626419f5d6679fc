"""A language model's run over its prompt: bound by arithmetic, and never faster than its weights are read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._decode import fitted_runtime, predict_step
from edgekit._latency import predict_latency
from edgekit._results import Measurement
from edgekit.profiles.read_fits import prefill_fits

if TYPE_CHECKING:
    from edgekit._latency import Question
    from edgekit._values import Device


def predict_prefill(question: Question, device: Device) -> Measurement:
    """Milliseconds of one run: by public prompt times of this device, else as of any other model.

    What reading all weights once takes is the least that comes out: short prompts wait for memory.
    """
    made = _by_prompts(question, device) or predict_latency(question, device)
    least = predict_step(question, device, cache_bytes=0)
    if made.value is None or least.value is None or least.value <= made.value:
        return made
    return least


def _by_prompts(question: Question, device: Device) -> Measurement | None:
    found = (prefill_fits().get((name, question.precision)) for name in device.same_hardware)
    fit = next((fit for fit in found if fit is not None), None)
    if fit is None or not fitted_runtime(question, device):
        return None
    ms = fit.layer_ms * question.work.layers + fit.gmac_ms * question.work.macs / 1e9
    basis = (
        f"family-fit: {1e3 * fit.layer_ms:.2g} us a layer and {fit.gmac_ms:.2g} ms a G MAC, by {fit.points} "
        f"public prompts of {fit.family} devices in {fit.precision}, median error {100 * fit.error:.0f} % on "
        "models held out; a measured prompt would narrow it"
    )
    return Measurement("latency", ms, "ms", "predicted", basis, (ms * fit.low, ms * fit.high))
