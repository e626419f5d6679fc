"""Elementwise ops: a row where LiteRT has the operator, a formula where it does not."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

import numpy as np

from edgekit._lowering import Refused
from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor

if TYPE_CHECKING:
    from collections.abc import Callable

_UNARY = {
    "Abs": "ABS",
    "Ceil": "CEIL",
    "Cos": "COS",
    "Exp": "EXP",
    "Floor": "FLOOR",
    "Log": "LOG",
    "Neg": "NEG",
    "Not": "LOGICAL_NOT",
    "Round": "ROUND",
    "Sign": "SIGN",
    "Sin": "SIN",
    "Sqrt": "SQRT",
}
_BINARY = {
    "Add": "ADD",
    "And": "LOGICAL_AND",
    "Div": "DIV",
    "Equal": "EQUAL",
    "Greater": "GREATER",
    "GreaterOrEqual": "GREATER_EQUAL",
    "Less": "LESS",
    "LessOrEqual": "LESS_EQUAL",
    "Mul": "MUL",
    "Or": "LOGICAL_OR",
    "Pow": "POW",
    "Sub": "SUB",
    "Xor": "NOT_EQUAL",
}


@rule(" ".join(_UNARY))
def unary(call: Call) -> Tensor:
    """Y = f(X)."""
    return call.emit(_UNARY[call.op], [call.x])


@rule(" ".join(_BINARY))
def binary(call: Call) -> Tensor:
    """C = f(A, B), broadcast as numpy does."""
    left, right = call.operand(0), call.operand(1)
    if call.op == "Pow" and left.dtype != right.dtype:
        right = call.cast(right, left.dtype)
    call.require(left.dtype == right.dtype, "its operands have different dtypes")
    return broadcast(call, _BINARY[call.op], left, right)


def broadcast(call: Call, code: str, left: Tensor, right: Tensor) -> Tensor:
    """A binary operator; ranks above LiteRT's limit are folded where axes broadcast alike."""
    shape = np.broadcast_shapes(left.shape, right.shape)
    like = Tensor(shape, call.out.dtype, None, call.out.quant)
    limit = 4
    if len(shape) <= limit or left.shape == right.shape or 1 in (left.size, right.size):
        return call.add(code, [left, right], shape, like=like)
    folded = _fold(left.shape, right.shape)
    if len(folded) > limit:
        raise Refused(
            f"LiteRT's {code} broadcasts at most {limit} dims", "reshape the operands before export"
        )
    a, b = ([pair[side] for pair in folded] for side in (0, 1))
    small = call.add(
        code,
        [call.reshape(left, a), call.reshape(right, b)],
        np.broadcast_shapes(tuple(a), tuple(b)),
        like=like,
    )
    return call.reshape(small, shape)


def _fold(left: tuple[int, ...], right: tuple[int, ...]) -> list[list[int]]:
    """Neighbouring axes merged where both operands have them, or the same one broadcasts."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    found: list[list[int]] = []
    kinds: list[tuple[bool, bool]] = []
    for a, b in pairs:
        if a == b == 1:
            continue
        kind = (a == 1, b == 1)
        if kinds and kinds[-1] == kind:
            found[-1] = [found[-1][0] * a, found[-1][1] * b]
        else:
            found.append([a, b])
            kinds.append(kind)
    return found or [[1, 1]]


@rule("Max Min Sum Mean")
def variadic(call: Call) -> Tensor:
    """Y = f(A, B, ...), two at a time."""
    codes = {"Max": "MAXIMUM", "Min": "MINIMUM"}
    operands = [call.operand(index) for index in range(len(call.inputs))]
    if len(operands) == 1:
        return operands[0]
    total = reduce(lambda a, b: broadcast(call, codes.get(call.op, "ADD"), a, b), operands)
    if call.op != "Mean":
        return total
    return call.emit("MUL", [total, call.scalar(1 / len(operands), total)])


@rule("Mod", "fmod")
def mod(call: Call) -> Tensor:
    """C = A mod B: the sign of B, or of A with fmod = 1."""
    left, right = call.operand(0), call.operand(1)
    if not call.integer("fmod", 0):
        return broadcast(call, "FLOOR_MOD", left, right)
    call.require(left.dtype == "float32", "fmod of integers has no LiteRT form")
    f = Formula(call)
    return f.mul(f.sign(left), broadcast(call, "FLOOR_MOD", f.abs(left), f.abs(right)))


@rule("Where")
def where(call: Call) -> Tensor:
    """Y = X where the condition holds, else Z."""
    condition, x, y = (call.operand(index) for index in range(3))
    call.require(call.out.dtype in ("float32", "int32", "int64", "bool"), f"no {call.out.dtype} select")
    call.require(call.out.rank <= 5, "LiteRT's SELECT_V2 broadcasts at most 5 dims")
    return call.emit("SELECT_V2", [condition, x, y])


@rule("IsNaN")
def is_nan(call: Call) -> Tensor:
    """Y = X is no number: then it differs from itself."""
    return call.emit("NOT_EQUAL", [call.x, call.x])


@rule("IsInf", "detect_negative detect_positive")
def is_inf(call: Call) -> Tensor:
    """Y = X is infinite, of either sign or of the one asked for."""
    call.require(call.x.dtype == "float32", f"LiteRT computes it on no {call.x.dtype}")
    positive, negative = call.integer("detect_positive", 1), call.integer("detect_negative", 1)
    call.require(positive or negative, "with neither sign asked for, it is always False", "leave it out")
    x = Formula(call).abs(call.x) if positive and negative else call.x
    return call.emit("EQUAL", [x, call.scalar(np.inf if positive else -np.inf, x)])


_FORMULAS: dict[str, Callable[[Formula, Tensor], Tensor]] = {
    "Reciprocal": lambda f, x: f.div(1.0, x),
    "Tan": lambda f, x: f.div(f.sin(x), f.cos(x)),
    "Sinh": lambda f, x: f.mul(f.sub(f.exp(x), f.exp(f.neg(x))), 0.5),
    "Cosh": lambda f, x: f.mul(f.add(f.exp(x), f.exp(f.neg(x))), 0.5),
    "Asinh": lambda f, x: f.mul(f.sign(x), f.log(f.add(f.abs(x), f.sqrt(f.add(f.mul(x, x), 1.0))))),
    "Acosh": lambda f, x: f.log(f.add(x, f.sqrt(f.sub(f.mul(x, x), 1.0)))),
    "Atanh": lambda f, x: f.mul(f.log(f.div(f.add(x, 1.0), f.sub(1.0, x))), 0.5),
    "Atan": lambda f, x: f.atan2(x, f.add(f.mul(x, 0.0), 1.0)),
    "Asin": lambda f, x: f.atan2(x, f.sqrt(f.mul(f.sub(1.0, x), f.add(x, 1.0)))),
    "Acos": lambda f, x: f.atan2(f.sqrt(f.mul(f.sub(1.0, x), f.add(x, 1.0))), x),
    "Softsign": lambda f, x: f.div(x, f.add(f.abs(x), 1.0)),
}


@rule(" ".join(_FORMULAS))
def formula(call: Call) -> Tensor:
    """Y = f(X), written out."""
    call.require(call.x.dtype == "float32", f"LiteRT computes it on no {call.x.dtype}")
    return _FORMULAS[call.op](Formula(call), call.x)


# Abramowitz and Stegun 7.1.26: |error| <= 1.5e-7.
_ERF = (0.254829592, -0.284496736, 1.421413741, -1.453152027, 1.061405429)


@rule("Erf")
def erf(call: Call) -> Tensor:
    """Y = erf(X): LiteRT has no such operator; a rational approximation is as exact as float32 shows."""
    f = Formula(call)
    size = f.abs(call.x)
    t = f.div(1.0, f.add(f.mul(size, 0.3275911), 1.0))
    series = f.mul(t, _ERF[4])
    for factor in reversed(_ERF[:4]):
        series = f.mul(f.add(series, factor), t)
    tail = f.mul(series, f.exp(f.neg(f.mul(size, size))))
    return f.mul(f.sign(call.x), f.sub(1.0, tail))
