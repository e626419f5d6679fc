"""Arithmetic on tensors as a formula reads: each method appends one MIL operation."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.graph import Tensor, constant

if TYPE_CHECKING:
    from edgekit.targets.coreml.call import Call
    from edgekit.targets.coreml.graph import Shape

    Operand = Tensor | float


def broadcast_shape(left: Shape, right: Shape) -> Shape:
    """numpy's rule; a symbol against 1 stays, against a number the number wins."""
    rank = max(len(left), len(right))
    pairs = zip((1,) * (rank - len(left)) + left, (1,) * (rank - len(right)) + right, strict=True)
    return tuple(b if a == 1 or (isinstance(a, str) and b != 1) else a for a, b in pairs)


def repeated(call: Call, x: Tensor, size: Shape) -> Tensor:
    """x broadcast to `size`: its dims of 1 are tiled."""
    wide = (1,) * (len(size) - x.rank) + x.shape
    if wide == size == x.shape:
        return x
    reps = []
    for have, want in zip(wide, size, strict=True):
        call.require(have == want or isinstance(want, int), "it spreads over a dim that only the run knows")
        reps.append(1 if have == want else int(want))
    if x.data is not None:
        return constant(np.tile(x.data.reshape([int(dim) for dim in wide]), reps))
    x = call.reshape(x, wide) if x.rank else call.add("reshape", wide, x=x, shape=[1] * len(wide))
    return x if all(rep == 1 for rep in reps) else call.add("tile", size, x=x, reps=reps)


class Formula:
    """Numbers become constants of the other operand's dtype; shapes broadcast."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def binary(self, code: str, a: Operand, b: Operand, makes: str | None = None) -> Tensor:
        like = a if isinstance(a, Tensor) else b
        assert isinstance(like, Tensor)
        left, right = (
            item if isinstance(item, Tensor) else constant(np.asarray(item, like.dtype)) for item in (a, b)
        )
        size = broadcast_shape(left.shape, right.shape)
        return self.call.add(code, size, makes=makes or like.dtype, x=left, y=right)

    def unary(self, code: str, x: Tensor, **inputs: Any) -> Tensor:
        return self.call.add(code, x.shape, x=x, **inputs)

    def add(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("add", a, b)

    def sub(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("sub", a, b)

    def mul(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("mul", a, b)

    def div(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("real_div", a, b)

    def floor_div(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("floor_div", a, b)

    def mod(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("mod", a, b)

    def maximum(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("maximum", a, b)

    def minimum(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("minimum", a, b)

    def greater(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("greater", a, b, "bool")

    def equal(self, a: Operand, b: Operand) -> Tensor:
        return self.binary("equal", a, b, "bool")

    def select(self, condition: Tensor, a: Tensor, b: Tensor) -> Tensor:
        """a where the condition holds, else b. MIL's `select` wants one shape, so all are spread to it.

        With a dim that only the run knows they stay as they are, as in coremltools' own frontends.
        """
        size = broadcast_shape(condition.shape, broadcast_shape(a.shape, b.shape))
        if all(isinstance(dim, int) for dim in size):
            condition, a, b = (repeated(self.call, item, size) for item in (condition, a, b))
        return self.call.add("select", size, makes=a.dtype, cond=condition, a=a, b=b)

    def neg(self, x: Tensor) -> Tensor:
        return self.binary("mul", x, -1)

    def abs(self, x: Tensor) -> Tensor:
        return self.unary("abs", x)

    def exp(self, x: Tensor) -> Tensor:
        return self.unary("exp", x)

    def log(self, x: Tensor) -> Tensor:
        """Of x itself: MIL adds 1e-45 unless told otherwise."""
        return self.unary("log", x, epsilon=0.0)

    def sqrt(self, x: Tensor) -> Tensor:
        return self.unary("sqrt", x)

    def square(self, x: Tensor) -> Tensor:
        return self.unary("square", x)

    def sign(self, x: Tensor) -> Tensor:
        return self.unary("sign", x)

    def relu(self, x: Tensor) -> Tensor:
        return self.unary("relu", x)

    def tanh(self, x: Tensor) -> Tensor:
        return self.unary("tanh", x)

    def sigmoid(self, x: Tensor) -> Tensor:
        return self.unary("sigmoid", x)

    def reduce(self, code: str, x: Tensor, axes: list[int]) -> Tensor:
        """The reduction over these axes, which stay as 1."""
        size = tuple(1 if i in axes else dim for i, dim in enumerate(x.shape))
        return self.call.add(code, size, x=x, axes=sorted(axes), keep_dims=True)
