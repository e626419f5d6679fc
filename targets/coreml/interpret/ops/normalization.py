"""Normalizations, each as its documented formula."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.activation import per_channel

if TYPE_CHECKING:
    from collections.abc import Sequence

Array = np.ndarray


def _batch_norm(  # noqa: PLR0913 - MIL's signature
    x: Array,
    mean: Array,
    variance: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    epsilon: float = 1e-5,
) -> Array:
    """Per channel, axis 1."""
    scale = 1 / np.sqrt(variance + np.float32(epsilon))
    return _affine((x - per_channel(mean, x)) * per_channel(scale, x), gamma, beta)


def _instance_norm(
    x: Array, gamma: Array | None = None, beta: Array | None = None, *, epsilon: float = 1e-5
) -> Array:
    """Per sample and channel, over the spatial dims."""
    return _affine(_standardize(x, tuple(range(2, x.ndim)), epsilon), gamma, beta)


def _affine(x: Array, gamma: Array | None, beta: Array | None) -> Array:
    x = x if gamma is None else x * per_channel(gamma, x)
    return x if beta is None else x + per_channel(beta, x)


def _layer_norm(
    x: Array,
    gamma: Array | None = None,
    beta: Array | None = None,
    *,
    axes: Sequence[int] | None = None,
    epsilon: float = 1e-5,
) -> Array:
    """Over `axes` (all where None); gamma and beta have the shape of those axes."""
    chosen = {axis % x.ndim for axis in (range(x.ndim) if axes is None else axes)}
    shape = [size if axis in chosen else 1 for axis, size in enumerate(x.shape)]
    made = _standardize(x, tuple(sorted(chosen)), epsilon)
    made = made if gamma is None else made * gamma.reshape(shape)
    return made if beta is None else made + beta.reshape(shape)


def _standardize(x: Array, axes: tuple[int, ...], epsilon: float) -> Array:
    centred = x - x.mean(axis=axes, keepdims=True)
    return np.asarray(
        centred / np.sqrt(np.square(centred).mean(axis=axes, keepdims=True) + np.float32(epsilon))
    )


def _l2_norm(x: Array, *, epsilon: float = 1e-6) -> Array:
    """Over the last three dims together."""
    return np.asarray(x / np.sqrt(np.square(x).sum(axis=(-3, -2, -1), keepdims=True) + np.float32(epsilon)))


def _local_response_norm(
    x: Array, *, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Array:
    """Over `size` neighbouring channels, (size - 1) // 2 of them before."""
    before = (size - 1) // 2
    padded = np.pad(np.square(x), [(0, 0), (before, size - 1 - before), *[(0, 0)] * (x.ndim - 2)])
    total = np.sum([padded[:, at : at + x.shape[1]] for at in range(size)], axis=0)
    return np.asarray(x / np.power(k + np.float32(alpha / size) * total, beta))


COMPUTES: dict[str, Any] = {
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "l2_norm": _l2_norm,
    "layer_norm": _layer_norm,
    "local_response_norm": _local_response_norm,
}
