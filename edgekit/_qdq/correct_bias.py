"""Takes the mean error that int8 brings to each convolution back out of its bias.

Rounding errors of a flat background do not average out: every pixel of it is rounded alike, in weights
and in activations, and a filter that tells edges from flat regions (its weights sum to zero) hands the
error on as if it were a signal. On the mean over a few calibration samples and all positions, the
reference graph shows that error, and a bias can hold its negative exactly. The scales stay as they are.
(Bias correction: Nagel et al. 2019, arXiv 1906.04721, section 4.2, here layer by layer on the Q/DQ graph.)
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit._qdq.insert import QdqResult, insert_qdq, reach_scheme
from edgekit._qdq.mean_errors import measure_errors
from edgekit.passes._rewire import Names, constant_array
from edgekit.passes.round_to_float16 import round_to_float16

if TYPE_CHECKING:
    from collections.abc import Mapping

    import onnx_ir as ir
    from numpy.typing import NDArray

    from edgekit._qdq.mean_errors import FloatMeans
    from edgekit._qdq.parameters import QdqForm
    from edgekit._qdq.steering import Steering
    from edgekit._schemes import Compute
    from edgekit._values import Component
    from edgekit.calibration.record import CalibrationRecord
    from edgekit.calibration.samples import Samples

    Feeds = Mapping[str, NDArray[np.generic]]
    Floats = NDArray[np.float32]

# With n samples a channel's error grows by 1/n at worst, where its mean is noise. 4, 8 and 16 samples
# gave the same SQNR within 1 dB on PP-OCRv4 rec, and time and memory grow with their number.
_SAMPLES = 4
# Samples as large as a page show each channel at many thousand places: two of them and four gave
# PP-OCRv4 det the same SQNR within 1 dB, and a run of its Q/DQ graph is what converting it costs most.
_FEW, _LARGE = 2, 1 << 20  # input values


def pick_feeds(samples: Samples) -> tuple[Feeds, ...]:
    """A few samples, evenly spread over all of them in their order: what biases are corrected on."""
    count = _SAMPLES
    for first in samples.take([0]):
        large = sum(array.size for array in first.feeds.values()) >= _LARGE
        count = _FEW if large else _SAMPLES
    return tuple(sample.feeds for sample in samples.take(samples.spread(count)))


def insert_corrected_qdq(
    component: Component,
    record: CalibrationRecord,
    floats: FloatMeans,
    *,
    form: QdqForm,
    steering: Steering | None = None,
) -> QdqResult:
    """As `insert_qdq`, with each int8 convolution's bias corrected for what int8 does.

    floats: of this very component, on a few samples (`measure_means`).

    Scales, zero-points and integer weights stay those of `insert_qdq`, except where a corrected bias
    leaves int32. Raises what `insert_qdq` and `measure_errors` raise.
    """
    component = reach_scheme(component, form.scheme, steering)
    first = insert_qdq(component, record, form=form, steering=steering)
    errors = _measure(floats, first.component.model, form.compute)
    if not errors:
        return first
    return insert_qdq(_shift_biases(component, errors), record, form=form, steering=steering)


def _measure(floats: FloatMeans, quantized: ir.Model, compute: Compute) -> Mapping[str, Floats]:
    """What the arithmetic between the integers adds counts too: float16 rounds flat regions alike as well.

    Where it leaves float16's range in this graph, float32's errors are all there is to go by.
    """
    if compute == "fp16" and floats.means:
        errors = measure_errors(floats, quantized, round_to_float16(quantized))
        if all(np.isfinite(error).all() for error in errors.values()):
            return errors
    return measure_errors(floats, quantized)


def _shift_biases(component: Component, errors: Mapping[str, Floats]) -> Component:
    """A copy whose convolutions add `errors` to what they add already."""
    model = component.model.clone()
    names = Names(model)
    for node in model.graph:
        bias = constant_array(node.inputs[2]) if node.name in errors else None
        if bias is not None:
            shifted = (bias + errors[str(node.name)]).astype(bias.dtype)
            made = names.add_initializer(model.graph, f"{node.name}/bias/corrected", shifted)
            node.replace_input_with(2, made)
    return replace(component, model=model)
