"""How far a change carries a model's outputs: by their decisions where they tell classes, else by energy."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

_LEAST = 1e-7  # a probability below that is fp32's noise
_NEAR_ONE = 1e-3  # rows that sum to 1 within this are probabilities: fp16 exports are that far off


def measure_distance(moved: Mapping[str, np.ndarray], exact: Mapping[str, np.ndarray]) -> float:
    """The distance of the float output that moves most; 0 where all are equal, inf where one is NaN.

    Rows of probabilities, and rows of scores [N, C] by their softmax: the mean Kullback-Leibler divergence
    from `exact`, in nats. For small changes that is half of Fisher's information of the change: what moves a
    close call counts, what moves a class that is sure does not. Other outputs: energy of the change over
    the output's own.
    """
    found = [
        _distance(moved[name].astype(np.float64), value.astype(np.float64))
        for name, value in exact.items()
        if value.dtype.kind == "f" and value.size
    ]
    return max((math.inf if math.isnan(one) else one for one in found), default=0.0)


def _distance(moved: Floats, exact: Floats) -> float:
    if exact.ndim >= 2 and exact.shape[-1] >= 2:
        if are_probabilities(exact):
            return _divergence(moved, exact)
        if exact.ndim == 2:
            return _divergence(_softmax(moved), _softmax(exact))
    energy = max(float(np.sum(exact**2)), 1e-30)
    return float(np.sum((moved - exact) ** 2)) / energy


def are_probabilities(rows: Floats) -> bool:
    """Whether every row is of numbers from 0 that sum to 1."""
    return bool(rows.min() >= 0.0 and np.abs(rows.sum(axis=-1) - 1.0).max() <= _NEAR_ONE)


def _divergence(moved: Floats, exact: Floats) -> float:
    """Mean over rows of sum p log(p / q)."""
    p, q = np.maximum(exact, _LEAST), np.maximum(moved, _LEAST)
    p, q = p / p.sum(axis=-1, keepdims=True), q / q.sum(axis=-1, keepdims=True)
    return float(np.mean(np.sum(p * np.log(p / q), axis=-1)))


def _softmax(scores: Floats) -> Floats:
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    softmax: Floats = powers / powers.sum(axis=-1, keepdims=True)
    return softmax
