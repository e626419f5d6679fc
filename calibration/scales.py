"""Ranges become integers: scales and zero-points of activations, scales and codes of weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit._schemes import QuantParams, Scales
from edgekit.calibration.settings import get_number
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgekit._schemes import Scheme
    from edgekit.calibration.record import CalibrationRecord, TensorRange

    Floats = NDArray[np.float32]

LEVELS = 127
"""Codes on either side of 0 in a symmetric int8 tensor; -128 is left out."""
_LEVELS_16 = 32767


def derive_scales(record: CalibrationRecord, scheme: Scheme) -> Scales:
    """Scale and zero-point of every recorded tensor under `scheme`.

    Symmetric: scale = threshold / 127 (int16: 32767), zero-point 0. Asymmetric: 256 (uint16: 65536) codes
    that cover the clip range to both its ends, the zero-point a whole number, so that 0 is exact. Under
    `fp16_scales` each scale is rounded up to a number fp16 holds exactly, at least 2^-14; a range too large
    for that raises ModelError.
    """
    tensors = {name: _derive_params(name, seen, scheme) for name, seen in record.ranges.items()}
    return Scales(scheme.name, record.digest, tensors)


def _derive_params(name: str, seen: TensorRange, scheme: Scheme) -> QuantParams:
    if scheme.symmetric:
        levels = _LEVELS_16 if scheme.activation == "int16" else LEVELS
        scale = round_scales(np.array(seen.threshold / levels), scheme, what=f"tensor '{name}'")
        return QuantParams(float(scale), 128 if scheme.activation == "uint8" else 0, scheme.activation)
    low, high = min(0.0, seen.clip_low), max(0.0, seen.clip_high)
    codes = 65535 if scheme.activation == "uint16" else 255
    steps = codes - 1 if low < 0 < high else codes  # one to spare: a whole zero-point covers both ends
    scale = round_scales(np.array((high - low) / steps), scheme, what=f"tensor '{name}'")
    code = int(np.clip(np.ceil(-low / float(scale)), 0, codes))
    offset = 128 if scheme.activation == "int8" else 0
    return QuantParams(float(scale), code - offset, scheme.activation)


def weight_scales(array: Floats, axis: int | None, scheme: Scheme, *, floors: Floats | None = None) -> Floats:
    """Symmetric scale of each channel along `axis` (of the whole tensor, shape (), where axis is None).

    max|w| / 127, at least `floors` where given (so that a bias fits int32), rounded as `scheme` asks. A
    NaN or infinite weight raises ModelError.
    """
    if not np.isfinite(array).all():
        raise ModelError("a weight is NaN or infinite", fix="export the model again from sound weights")
    others = None if axis is None else tuple(i for i in range(array.ndim) if i != axis % array.ndim)
    largest = np.abs(array).max(axis=others, initial=0.0).astype(np.float64)
    scales = largest / LEVELS
    return round_scales(scales if floors is None else np.maximum(scales, floors), scheme, what="a weight")


def quantize_weights(
    array: Floats, axis: int | None, scheme: Scheme, scales: Floats
) -> NDArray[np.int8] | NDArray[np.uint8]:
    """Codes of `array` under `scales`: int8 within +-127, or the same integers + 128 as uint8."""
    if axis is not None:
        scales = np.expand_dims(scales, tuple(i for i in range(array.ndim) if i != axis % array.ndim))
    codes = np.clip(np.rint(array / scales), -LEVELS, LEVELS)
    if scheme.weight == "uint8":
        return np.asarray(codes + 128, np.uint8)
    return np.asarray(codes, np.int8)


def weight_zero_point(scheme: Scheme) -> int:
    """The code of 0 in a weight: 0 for int8, 128 for uint8."""
    return 128 if scheme.weight == "uint8" else 0


def round_scales(scales: NDArray[np.float64], scheme: Scheme, *, what: str) -> Floats:
    """`scales` rounded up to numbers the scheme's runtimes hold, never zero; `what` names the tensor."""
    kind = np.float16 if scheme.fp16_scales else np.float32
    smallest = get_number("scales", "smallest_fp16" if scheme.fp16_scales else "smallest_fp32")
    largest = get_number("scales", "largest_fp16") if scheme.fp16_scales else float(np.finfo(np.float32).max)
    if np.any(scales > largest):
        raise ModelError(
            f"the range of {what} needs a scale of {float(scales.max()):g}, above the {largest:g} that "
            f"scheme '{scheme.name}' can hold",
            fix="keep the node out of int8 with --float, or calibrate with --observer percentile",
        )
    wanted = np.maximum(scales, smallest)
    near = wanted.astype(kind)
    up = np.where(near.astype(np.float64) < wanted, np.nextafter(near, kind(np.inf)), near)
    return up.astype(np.float32)
