"""Arithmetic on tensors as a formula reads: each method appends one operator."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import Tensor, constant

if TYPE_CHECKING:
    from edgekit.targets.litert.call import Call

    Operand = Tensor | float


class Formula:
    """Numbers become float32 constants; shapes broadcast."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def _binary(self, code: str, a: Operand, b: Operand) -> Tensor:
        left, right = self._tensor(a), self._tensor(b)
        shape = np.broadcast_shapes(left.shape, right.shape)
        return self.call.add(code, [left, right], shape, like=Tensor(shape, "float32"))

    def _tensor(self, value: Operand) -> Tensor:
        return value if isinstance(value, Tensor) else constant(np.asarray(value, np.float32))

    def _unary(self, code: str, x: Tensor) -> Tensor:
        return self.call.add(code, [x], x.shape, like=Tensor(x.shape, "float32"))

    def add(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("ADD", a, b)

    def sub(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("SUB", a, b)

    def mul(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MUL", a, b)

    def div(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("DIV", a, b)

    def maximum(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MAXIMUM", a, b)

    def minimum(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MINIMUM", a, b)

    def atan2(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("ATAN2", a, b)

    def abs(self, x: Tensor) -> Tensor:
        return self._unary("ABS", x)

    def neg(self, x: Tensor) -> Tensor:
        return self._unary("NEG", x)

    def exp(self, x: Tensor) -> Tensor:
        return self._unary("EXP", x)

    def log(self, x: Tensor) -> Tensor:
        return self._unary("LOG", x)

    def sqrt(self, x: Tensor) -> Tensor:
        return self._unary("SQRT", x)

    def rsqrt(self, x: Tensor) -> Tensor:
        return self._unary("RSQRT", x)

    def square(self, x: Tensor) -> Tensor:
        return self._unary("SQUARE", x)

    def sign(self, x: Tensor) -> Tensor:
        return self._unary("SIGN", x)

    def sin(self, x: Tensor) -> Tensor:
        return self._unary("SIN", x)

    def cos(self, x: Tensor) -> Tensor:
        return self._unary("COS", x)

    def relu(self, x: Tensor) -> Tensor:
        return self._unary("RELU", x)

    def relu6(self, x: Tensor) -> Tensor:
        return self._unary("RELU6", x)

    def tanh(self, x: Tensor) -> Tensor:
        return self._unary("TANH", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self._unary("LOGISTIC", x)
