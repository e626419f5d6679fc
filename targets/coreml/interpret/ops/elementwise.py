"""Elementwise arithmetic, comparisons, logic and casts; shapes broadcast from the right."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

Array = np.ndarray

# The names that cast and quantize take -> numpy's.
DTYPES: dict[str, type[np.generic]] = {
    "bool": np.bool_,
    "fp16": np.float16,
    "fp32": np.float32,
    "int4": np.int8,
    "int8": np.int8,
    "int16": np.int16,
    "int32": np.int32,
    "uint4": np.uint8,
    "uint8": np.uint8,
    "uint16": np.uint16,
}
_ERF = np.frompyfunc(math.erf, 1, 1)


def erf(x: Array) -> Array:
    """The error function, computed in double precision."""
    return np.asarray(_ERF(x)).astype(np.float32)


def cast(x: Array, *, dtype: str) -> Array:
    """To an integer: towards zero. A float that the integer type cannot hold has no defined result."""
    if dtype not in DTYPES:
        raise Unsupported(f"its dtype '{dtype}' has no meaning here")
    target = np.dtype(DTYPES[dtype])
    if x.dtype.kind == "f" and target.kind in "iu":
        bounds, whole = np.iinfo(str(target)), np.trunc(x)
        if not (np.isfinite(whole) & (whole >= bounds.min) & (whole <= bounds.max)).all():
            raise Unsupported(f"a value is outside {dtype}; what Core ML makes of it is not documented")
    return x.astype(target)


def select(cond: Array, a: Array, b: Array) -> Array:
    """`a` where cond, else `b`."""
    return np.where(cond, a, b)


def _floor_div(x: Array, y: Array) -> Array:
    return np.asarray(np.floor_divide(x, _nonzero(y)))


def _mod(x: Array, y: Array) -> Array:
    return np.asarray(np.mod(x, _nonzero(y)))


def _real_div(x: Array, y: Array) -> Array:
    if x.dtype.kind in "iu" and y.dtype.kind in "iu":
        raise Unsupported("a real division of integers is not documented")
    return np.asarray(np.true_divide(x, y))


def _nonzero(y: Array) -> Array:
    if y.dtype.kind in "iu" and not np.all(y):
        raise Unsupported("an integer division by zero is not documented")
    return y


def _log(x: Array, *, epsilon: float = 1e-45) -> Array:
    return np.log(x + np.float32(epsilon))


def _rsqrt(x: Array, *, epsilon: float = 1e-12) -> Array:
    return 1 / np.sqrt(x + np.float32(epsilon))


def _inverse(x: Array, *, epsilon: float = 1e-4) -> Array:
    return 1 / (x + np.float32(epsilon))


def _clip(x: Array, *, alpha: float, beta: float) -> Array:
    return np.asarray(np.minimum(np.maximum(x, alpha), beta))


def _threshold(x: Array, *, alpha: float) -> Array:
    return np.asarray(np.maximum(x, alpha))


def _unary(function: Any) -> Any:
    """A formula whose one parameter is named as in MIL: numpy's own have other names."""

    def formula(x: Array) -> Any:
        return function(x)

    return formula


def _binary(function: Any) -> Any:
    def formula(x: Array, y: Array) -> Any:
        return function(x, y)

    return formula


COMPUTES: dict[str, Any] = {
    "abs": _unary(np.abs),
    "acos": _unary(np.arccos),
    "add": _binary(np.add),
    "asin": _unary(np.arcsin),
    "atan": _unary(np.arctan),
    "atanh": _unary(np.arctanh),
    "ceil": _unary(np.ceil),
    "clip": _clip,
    "cos": _unary(np.cos),
    "cosh": _unary(np.cosh),
    "equal": _binary(np.equal),
    "erf": erf,
    "exp": _unary(np.exp),
    "exp2": _unary(np.exp2),
    "floor": _unary(np.floor),
    "floor_div": _floor_div,
    "greater": _binary(np.greater),
    "greater_equal": _binary(np.greater_equal),
    "inverse": _inverse,
    "less": _binary(np.less),
    "less_equal": _binary(np.less_equal),
    "log": _log,
    "logical_and": _binary(np.logical_and),
    "logical_not": _unary(np.logical_not),
    "logical_or": _binary(np.logical_or),
    "logical_xor": _binary(np.logical_xor),
    "maximum": _binary(np.maximum),
    "minimum": _binary(np.minimum),
    "mod": _mod,
    "mul": _binary(np.multiply),
    "not_equal": _binary(np.not_equal),
    "pow": _binary(np.power),
    "real_div": _real_div,
    "round": _unary(np.round),
    "rsqrt": _rsqrt,
    "sign": _unary(np.sign),
    "sin": _unary(np.sin),
    "sinh": _unary(np.sinh),
    "sqrt": _unary(np.sqrt),
    "square": _unary(np.square),
    "sub": _binary(np.subtract),
    "tan": _unary(np.tan),
    "tanh": _unary(np.tanh),
    "threshold": _threshold,
}
MOVES: dict[str, Any] = {"cast": cast, "identity": _unary(np.asarray), "select": select}
