"""Activations."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import ROUNDED, Quant, Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Callable

_FLOAT = "keep it out with --float"
_ROWS = {"Relu": "RELU", "Sigmoid": "LOGISTIC", "Tanh": "TANH", "HardSwish": "HARD_SWISH"}


@rule(" ".join(_ROWS))
def activation(call: Call) -> Tensor:
    """Y = f(X)."""
    return call.emit(_ROWS[call.op], [call.x])


@rule("LeakyRelu", "alpha")
def leaky_relu(call: Call) -> Tensor:
    """Y = X where X >= 0, else alpha X."""
    return call.emit("LEAKY_RELU", [call.x], alpha=call.number("alpha", 0.01))


@rule("Gelu", "approximate")
def gelu(call: Call) -> Tensor:
    """Y = X/2 (1 + erf(X / sqrt 2)), or its tanh form."""
    return call.emit("GELU", [call.x], approximate=call.text("approximate", "none") == "tanh")


@rule("Clip", "min max")
def clip(call: Call) -> Tensor:
    """Y = min(max(X, low), high)."""
    low, high = call.optional(1), call.optional(2)
    if (
        low is not None
        and low.data is not None
        and float(low.data) == 0.0
        and call.x.dtype in ("float32", *ROUNDED)
    ):
        if high is None:
            return call.emit("RELU", [call.x])
        if high.data is not None and float(high.data) == 6.0:
            return call.emit("RELU6", [call.x])
    made = call.x
    if low is not None:
        made = call.emit("MAXIMUM", [made, low])
    if high is not None:
        made = call.emit("MINIMUM", [made, high])
    return made


@rule("PRelu")
def prelu(call: Call) -> Tensor:
    """Y = X where X >= 0, else slope X."""
    slope = call.operand(1).data
    narrow = None if slope is None else _by_channel(slope, call.x)
    if narrow is not None:
        return call.emit("PRELU", [call.x, _as_int8(call, narrow) if call.x.dtype == "int8" else narrow])
    call.require(call.x.dtype != "int8", "a slope for each position has no int8 form", _FLOAT)
    f = Formula(call)
    return f.add(f.relu(call.x), f.mul(call.operand(1), f.minimum(call.x, 0.0)))


def _as_int8(call: Call, slope: Tensor) -> Tensor:
    """Slopes up to 1 in int8 of one scale: they move the result by at most half a step of the data."""
    assert slope.data is not None
    largest = float(np.abs(slope.data).max())
    call.require(0 < largest <= 1, "slopes above 1 are too coarse in int8", _FLOAT)
    scale = np.float32(largest / 127)
    return constant(np.rint(slope.data / scale).astype(np.int8), Quant((float(scale),)))


def _by_channel(slope: np.ndarray, x: Tensor) -> Tensor | None:
    """[1, 1, C] for LiteRT's operator; None where the slope is another one for each position."""
    trimmed = slope.reshape(slope.shape[next((i for i, n in enumerate(slope.shape) if n != 1), slope.ndim) :])
    if trimmed.ndim > 1 or x.rank != 4 or trimmed.size not in (1, x.shape[-1]):
        return None
    return constant(np.ascontiguousarray(np.broadcast_to(trimmed.reshape(1, 1, -1), (1, 1, x.shape[-1]))))


@rule("HardSigmoid", "alpha beta")
def hard_sigmoid(call: Call) -> Tensor:
    """Y = min(max(alpha X + beta, 0), 1), by a clamp at 6 that LiteRT fuses."""
    alpha, beta = call.number("alpha", 0.2), call.number("beta", 0.5)
    f = Formula(call)
    return f.mul(f.relu6(f.add(f.mul(call.x, 6 * alpha), 6 * beta)), 1 / 6)


def _elu(f: Formula, x: Tensor, alpha: float) -> Tensor:
    return f.add(f.relu(x), f.mul(f.sub(f.exp(f.minimum(x, 0.0)), 1.0), alpha))


@rule("Elu", "alpha")
def elu(call: Call) -> Tensor:
    """Y = X where X >= 0, else alpha (exp X - 1); LiteRT's ELU knows alpha = 1 only."""
    alpha = call.number("alpha", 1.0)
    return call.emit("ELU", [call.x]) if alpha == 1 else _elu(Formula(call), call.x, alpha)


@rule("Selu", "alpha gamma")
def selu(call: Call) -> Tensor:
    """Y = gamma Elu(X, alpha)."""
    f = Formula(call)
    return f.mul(
        _elu(f, call.x, call.number("alpha", 1.67326319217681884765625)),
        call.number("gamma", 1.05070102214813232421875),
    )


@rule("Celu", "alpha")
def celu(call: Call) -> Tensor:
    """Y = max(0, X) + min(0, alpha (exp(X / alpha) - 1))."""
    alpha = call.number("alpha", 1.0)
    f = Formula(call)
    low = f.minimum(call.x, 0.0) if alpha > 0 else call.x
    return f.add(f.relu(call.x), f.minimum(f.mul(f.sub(f.exp(f.mul(low, 1 / alpha)), 1.0), alpha), 0.0))


def _softplus(f: Formula, x: Tensor) -> Tensor:
    return f.add(f.relu(x), f.log(f.add(f.exp(f.neg(f.abs(x))), 1.0)))


_FORMULAS: dict[str, Callable[[Formula, Tensor], Tensor]] = {
    "Softplus": _softplus,
    "Mish": lambda f, x: f.mul(x, f.tanh(_softplus(f, x))),
}


@rule(" ".join(_FORMULAS))
def formula(call: Call) -> Tensor:
    """Y = f(X), written out."""
    return _FORMULAS[call.op](Formula(call), call.x)


@rule("Swish", "alpha")
def swish(call: Call) -> Tensor:
    """Y = X sigmoid(alpha X)."""
    f = Formula(call)
    return f.mul(call.x, f.sigmoid(f.mul(call.x, call.number("alpha", 1.0))))


@rule("ThresholdedRelu", "alpha")
def thresholded_relu(call: Call) -> Tensor:
    """Y = X where X > alpha, else 0."""
    x = call.x
    above = call.add(
        "GREATER", [x, call.scalar(call.number("alpha", 1.0), x)], x.shape, like=Tensor(x.shape, "bool")
    )
    return call.emit("SELECT_V2", [above, x, call.scalar(0.0, x)])


@rule("Shrink", "bias lambd")
def shrink(call: Call) -> Tensor:
    """Y = X + bias below -lambd, X - bias above lambd, else 0."""
    call.require(call.x.dtype == "float32", f"LiteRT computes it on no {call.x.dtype}")
    limit, bias = call.number("lambd", 0.5), call.number("bias", 0.0)
    f, x = Formula(call), call.x
    flag = Tensor(x.shape, "bool")
    below = call.add("LESS", [x, call.scalar(-limit, x)], x.shape, like=flag)
    above = call.add("GREATER", [x, call.scalar(limit, x)], x.shape, like=flag)
    rest = call.add("SELECT_V2", [above, f.sub(x, bias), call.scalar(0.0, x)], x.shape, like=x)
    return call.emit("SELECT_V2", [below, f.add(x, bias), rest])
