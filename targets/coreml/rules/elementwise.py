"""Elementwise ops: a row where MIL has the operation, a formula where it does not."""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula, broadcast_shape, repeated

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.targets.coreml.graph import Tensor

_UNARY = {
    "Abs": "abs",
    "Acos": "acos",
    "Asin": "asin",
    "Atan": "atan",
    "Atanh": "atanh",
    "Ceil": "ceil",
    "Cos": "cos",
    "Cosh": "cosh",
    "Exp": "exp",
    "Floor": "floor",
    "Not": "logical_not",
    "Round": "round",
    "Sign": "sign",
    "Sin": "sin",
    "Sinh": "sinh",
    "Sqrt": "sqrt",
    "Tan": "tan",
}
_BINARY = {
    "Add": "add",
    "And": "logical_and",
    "Equal": "equal",
    "Greater": "greater",
    "GreaterOrEqual": "greater_equal",
    "Less": "less",
    "LessOrEqual": "less_equal",
    "Mul": "mul",
    "Or": "logical_or",
    "Pow": "pow",
    "Sub": "sub",
    "Xor": "logical_xor",
}
_FORMULAS: dict[str, Callable[[Formula, Tensor], Tensor]] = {
    "Acosh": lambda f, x: f.log(f.add(x, f.sqrt(f.sub(f.square(x), 1.0)))),
    "Asinh": lambda f, x: f.mul(f.sign(x), f.log(f.add(f.abs(x), f.sqrt(f.add(f.square(x), 1.0))))),
    "Log": lambda f, x: f.log(x),
    "Neg": lambda f, x: f.neg(x),
    "Reciprocal": lambda f, x: f.div(1.0, x),
    "IsNaN": lambda f, x: f.binary("not_equal", x, x, "bool"),
}


@rule(" ".join(_UNARY))
def unary(call: Call) -> Tensor:
    """Y = f(X)."""
    if call.op in ("Abs", "Not", "Sign") or call.x.dtype != "int32":
        return call.emit(_UNARY[call.op], x=call.x)
    call.require(call.op in ("Ceil", "Floor", "Round"), f"Core ML computes it on no {call.x.dtype}")
    return call.emit("identity", x=call.x)


@rule(" ".join(_FORMULAS))
def formula(call: Call) -> Tensor:
    """Y = f(X), written out."""
    return _FORMULAS[call.op](Formula(call), call.x)


@rule("IsInf", "detect_negative detect_positive")
def is_inf(call: Call) -> Tensor:
    """Y = whether X is infinite, of the asked signs."""
    low, high = call.integer("detect_negative", 1), call.integer("detect_positive", 1)
    call.require(low or high, "it looks for neither sign")
    f = Formula(call)
    x = f.abs(call.x) if low and high else call.x if high else f.neg(call.x)
    return f.equal(x, float("inf"))


@rule(" ".join(_BINARY))
def binary(call: Call) -> Tensor:
    """C = f(A, B), broadcast as numpy does."""
    left, right = call.operand(0), call.operand(1)
    if call.op == "Pow" and left.dtype != right.dtype:
        right = call.cast(right, left.dtype)
    if call.op == "Equal" and left.dtype == "bool":
        left, right = call.cast(left, "int32"), call.cast(right, "int32")
    call.require(left.dtype == right.dtype, "its operands have different dtypes")
    return call.emit(_BINARY[call.op], x=left, y=right)


@rule("Div")
def div(call: Call) -> Tensor:
    """C = A / B; integers are cut towards zero, as in C."""
    left, right = call.operand(0), call.operand(1)
    f = Formula(call)
    if left.dtype == "float32":
        return f.div(left, right)
    whole = f.floor_div(f.abs(left), f.abs(right))
    return f.mul(whole, f.mul(f.sign(left), f.sign(right)))


@rule("Mod", "fmod")
def mod(call: Call) -> Tensor:
    """C = A mod B: the sign of B, or of A with fmod = 1."""
    left, right = call.operand(0), call.operand(1)
    f = Formula(call)
    if not call.integer("fmod", 0):
        return f.mod(left, right)
    return f.mul(f.sign(left), f.mod(f.abs(left), f.abs(right)))


@rule("Max Min Sum Mean")
def variadic(call: Call) -> Tensor:
    """Y = f(A, B, ...), two at a time."""
    codes = {"Max": "maximum", "Min": "minimum"}
    operands = [call.operand(index) for index in range(len(call.inputs))]
    if len(operands) == 1:
        return call.emit("identity", x=operands[0])
    f = Formula(call)
    total = reduce(lambda a, b: f.binary(codes.get(call.op, "add"), a, b), operands)
    return total if call.op != "Mean" else f.mul(total, 1 / len(operands))


@rule("Where")
def where(call: Call) -> Tensor:
    """Y = X where the condition holds, else Z."""
    condition, x, y = (call.operand(index) for index in range(3))
    return Formula(call).select(condition, x, y)


@rule("Expand")
def expand(call: Call) -> Tensor:
    """Y = X broadcast to a constant shape."""
    wanted = tuple(int(size) for size in call.array(1))
    made = repeated(call, call.x, broadcast_shape(call.x.shape, wanted))
    return made if made is not call.x else call.emit("identity", x=made)
