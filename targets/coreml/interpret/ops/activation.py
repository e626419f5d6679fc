"""Activations, each as its documented formula."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.elementwise import erf
from edgekit.targets.coreml.interpret.unsupported import Unsupported

Array = np.ndarray


def sigmoid(x: Array) -> Array:
    """1 / (1 + e^-x), without overflow."""
    return np.asarray(0.5).astype(np.float32) * (np.tanh(x * np.float32(0.5)) + np.float32(1))


def softmax(x: Array, *, axis: int = -1) -> Array:
    """e^x over its sum along the axis, shifted by the maximum."""
    exponents = np.exp(x - x.max(axis=axis, keepdims=True))
    return np.asarray(exponents / exponents.sum(axis=axis, keepdims=True))


def _softplus(x: Array) -> Array:
    return np.asarray(np.logaddexp(x, np.float32(0)))


def _softplus_parametric(x: Array, alpha: Array, beta: Array) -> Array:
    return np.asarray(per_channel(alpha, x) * _softplus(x * per_channel(beta, x)))


def _gelu(x: Array, *, mode: str = "EXACT") -> Array:
    if mode == "EXACT":
        return np.asarray(x * np.float32(0.5) * (1 + erf(x / np.float32(np.sqrt(2)))))
    if mode == "TANH_APPROXIMATION":
        return np.asarray(
            x * np.float32(0.5) * (1 + np.tanh(np.float32(np.sqrt(2 / np.pi)) * (x + 0.044715 * x**3)))
        )
    if mode == "SIGMOID_APPROXIMATION":
        return np.asarray(x * sigmoid(1.702 * x))
    raise Unsupported(f"its mode '{mode}' has no meaning here")


def _clamped_relu(x: Array, *, alpha: float, beta: float) -> Array:
    return np.minimum(np.where(x >= 0, x, alpha * x), beta)


def _elu(x: Array, *, alpha: float) -> Array:
    return np.where(x > 0, x, alpha * np.expm1(np.minimum(x, 0)))


def _leaky_relu(x: Array, *, alpha: float) -> Array:
    return np.where(x >= 0, x, alpha * x)


def _prelu(x: Array, alpha: Array) -> Array:
    return np.where(x > 0, x, per_channel(alpha, x) * x)


def _linear(x: Array, *, alpha: float, beta: float) -> Array:
    return alpha * x + beta


def _scaled_tanh(x: Array, *, alpha: float, beta: float) -> Array:
    return alpha * np.tanh(beta * x)


def sigmoid_hard(x: Array, *, alpha: float, beta: float) -> Array:
    """min(max(alpha x + beta, 0), 1)."""
    return np.clip(alpha * x + beta, 0, 1)


def _softsign(x: Array) -> Array:
    return np.asarray(x / (1 + np.abs(x)))


def _thresholded_relu(x: Array, *, alpha: float) -> Array:
    return np.where(x >= alpha, x, np.float32(0))


def _relu(x: Array) -> Array:
    return np.asarray(np.maximum(x, 0))


def _relu6(x: Array) -> Array:
    return np.asarray(np.clip(x, 0, 6))


def _silu(x: Array) -> Array:
    return np.asarray(x * sigmoid(x))


def per_channel(values: Array, x: Array) -> Array:
    """[C] (or one value) as a shape that broadcasts along axis 1 of x."""
    return values.reshape(-1, *[1] * (x.ndim - 2)) if values.ndim == 1 else values


COMPUTES: dict[str, Any] = {
    "clamped_relu": _clamped_relu,
    "elu": _elu,
    "gelu": _gelu,
    "leaky_relu": _leaky_relu,
    "linear_activation": _linear,
    "prelu": _prelu,
    "relu": _relu,
    "relu6": _relu6,
    "scaled_tanh": _scaled_tanh,
    "sigmoid": sigmoid,
    "sigmoid_hard": sigmoid_hard,
    "silu": _silu,
    "softmax": softmax,
    "softplus": _softplus,
    "softplus_parametric": _softplus_parametric,
    "softsign": _softsign,
    "thresholded_relu": _thresholded_relu,
}
