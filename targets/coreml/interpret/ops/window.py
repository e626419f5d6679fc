"""How convolutions and pools pad their input and where their windows lie."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

if TYPE_CHECKING:
    from collections.abc import Sequence

Pairs = list[tuple[int, int]]


def pad_pairs(
    pad_type: str,
    pad: Sequence[int] | None,
    sizes: Sequence[int],
    spans: Sequence[int],
    strides: Sequence[int],
) -> Pairs:
    """(before, after) of each spatial dim; `spans` are kernel sizes with their dilation.

    `same` keeps ceil(size / stride) outputs and puts an odd element after, `same_lower` before (TensorFlow's
    and ONNX's SAME_UPPER and SAME_LOWER).
    """
    if pad_type == "valid":
        return [(0, 0) for _ in sizes]
    if pad_type == "custom":
        given = list(pad) if pad is not None else [0] * (2 * len(sizes))
        if len(given) != 2 * len(sizes):
            raise ValueError(f"pad has {len(given)} entries for {len(sizes)} spatial dims")
        return list(zip(given[::2], given[1::2], strict=True))
    if pad_type not in ("same", "same_lower"):
        raise Unsupported(f"its pad_type '{pad_type}' has no meaning here")
    totals = [
        max(0, (-(-size // stride) - 1) * stride + span - size)
        for size, span, stride in zip(sizes, spans, strides, strict=True)
    ]
    odd_before = pad_type == "same_lower"
    return [((total + odd_before) // 2, total - (total + odd_before) // 2) for total in totals]


def spans(kernel: Sequence[int], dilations: Sequence[int]) -> list[int]:
    """How far each kernel dim reaches."""
    return [(size - 1) * dilation + 1 for size, dilation in zip(kernel, dilations, strict=True)]


def pad_spatial(x: np.ndarray, pairs: Pairs, value: float) -> np.ndarray:
    """x [N, C, *D] padded on D."""
    if not any(before or after for before, after in pairs):
        return x
    return np.pad(x, [(0, 0), (0, 0), *pairs], constant_values=value)


def windows(
    x: np.ndarray, kernel: Sequence[int], strides: Sequence[int], dilations: Sequence[int]
) -> np.ndarray:
    """A view [N, C, *out, *kernel] of x [N, C, *D]."""
    reach = spans(kernel, dilations)
    if any(size < span for size, span in zip(x.shape[2:], reach, strict=True)):
        raise ValueError(f"a window of {list(reach)} is larger than its padded input {list(x.shape[2:])}")
    axes = tuple(range(2, x.ndim))
    view = np.lib.stride_tricks.sliding_window_view(x, tuple(reach), axis=axes)
    outer = tuple(slice(None, None, stride) for stride in strides)
    inner = tuple(slice(None, None, dilation) for dilation in dilations)
    return view[(slice(None), slice(None), *outer, *inner)]
