"""Fourier transforms as one matrix in exact sines along the transformed axis."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.matmul import fully_connected
from edgekit.targets.litert.rules.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_WEIGHTS = 4 * 2**20


def _matrix(call: Call, size: int, parts: int, transform: Callable[[Any], Any]) -> Any:
    """[outputs * parts, size * parts]: `transform` of complex rows [..., size], applied to all units."""
    call.require(
        4 * size * size <= _MOST_WEIGHTS, f"a transform of {size} values is beyond what edgekit writes out"
    )
    units = np.eye(size * parts).reshape(size * parts, size, parts)
    values = units[..., 0] + (1j * units[..., 1] if parts == 2 else 0)
    made = transform(values)
    both = np.stack([made.real, made.imag], -1) if np.iscomplexobj(made) else made[..., None]
    return both.reshape(size * parts, -1).T.astype(np.float32)


def _applied(call: Call, x: Tensor, matrix: Any, shape: list[int]) -> Tensor:
    """The matrix on the last two dims of `x`, seen as one; in this shape."""
    flat = call.reshape(x, (x.size // matrix.shape[1], matrix.shape[1]))
    return call.reshape(fully_connected(call, flat, constant(matrix), None, like=x), shape)


@rule("DFT", "axis inverse onesided")
def dft(call: Call) -> Tensor:
    """Y = the discrete Fourier transform of X [..., 1 or 2 (real, imaginary)] along one axis."""
    x = call.x
    axis = int(call.array(2)) if call.has(2) else call.integer("axis", -2 if call.opset >= 20 else 1)
    axis, size, parts = axis % x.rank, x.shape[axis % x.rank], x.shape[-1]
    inverse, onesided = call.integer("inverse", 0), call.integer("onesided", 0)
    length = call.optional_array(1)
    count = int(length) if length is not None else 2 * (size - 1) if inverse and onesided else size

    def transform(values: Any) -> Any:
        if inverse:
            return (np.fft.irfft if onesided else np.fft.ifft)(values, count)
        made = np.fft.fft(values, count)
        return made[..., : count // 2 + 1] if onesided else made

    order = [i for i in range(x.rank - 1) if i != axis] + [axis, x.rank - 1]
    moved = call.transpose(x, order)
    shape = [call.out.shape[i] for i in order]
    made = _applied(call, moved, _matrix(call, size, parts, transform), shape)
    return call.transpose(made, [order.index(i) for i in range(x.rank)])


@rule("STFT", "onesided")
def stft(call: Call) -> Tensor:
    """Y [batch, frames, bins, 2] = DFT of each frame of `signal` [batch, length, 1 or 2], times a window."""
    window, batch = call.optional(2), call.out.shape[0]
    size = window.size if window is not None else int(call.array(3))
    call.require(size, "its frame length is not known")
    parts = call.x.shape[2] if call.x.rank == 3 else 1
    frames, bins = call.out.shape[1], call.out.shape[2]
    signal = call.reshape(call.x, (batch, call.x.shape[1], parts))
    places = Places(call)
    starts = places.mul(np.arange(frames), call.reshape(call.operand(1), (1,)))
    found = places.add(call.reshape(starts, (frames, 1)), np.arange(size)[None])
    cut = call.add("GATHER", [signal, found], (batch, frames, size, parts), axis=1)
    if window is not None:
        cut = Formula(call).mul(cut, call.reshape(window, (size, 1)))
    matrix = _matrix(call, size, parts, lambda values: np.fft.fft(values)[..., :bins])
    return _applied(call, cut, matrix, [batch, frames, bins, 2])
