"""Matrix products."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

Array = np.ndarray


def _linear(x: Array, weight: Array, bias: Array | None = None) -> Array:
    """x [*, I], weight [O, I], bias [O] -> [*, O]."""
    made: Array = x @ weight.T
    return made if bias is None else made + bias


def _matmul(x: Array, y: Array, *, transpose_x: bool = False, transpose_y: bool = False) -> Array:
    """numpy's product; the flags swap the last two dims, and do nothing to a vector."""
    left = np.swapaxes(x, -1, -2) if transpose_x and x.ndim > 1 else x
    right = np.swapaxes(y, -1, -2) if transpose_y and y.ndim > 1 else y
    made: Array = np.matmul(left, right)
    return made


def _einsum(values: list[Array], *, equation: str) -> Array:
    """The two products that MIL has by this name, over axes -1 and -3; dims of 1 among the others spread."""
    left, right = values
    if left.ndim not in (3, 4) or left.ndim != right.ndim:
        raise Unsupported(f"einsum of ranks {left.ndim} and {right.ndim} has no meaning here")
    made: Array = np.einsum(equation, left, right)
    return made


COMPUTES: dict[str, Any] = {"einsum": _einsum, "linear": _linear, "matmul": _matmul}
