"""MatMul and Gemm."""

from __future__ import annotations

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant

_MOST_DIMS_OF_LINEAR = 3


@rule("MatMul")
def matmul(call: Call) -> Tensor:
    """Y = A @ B with numpy's rules; a constant B of two dims becomes the weight of a linear layer."""
    left, right = call.operand(0), call.operand(1)
    if right.is_constant and right.rank == 2 and 2 <= left.rank <= _MOST_DIMS_OF_LINEAR:
        return call.emit("linear", x=left, weight=call.transpose(right, (1, 0)))
    if left.rank == 1 or right.rank == 1:
        return _with_vector(call, left, right)
    return call.emit("matmul", x=left, y=right, transpose_x=False, transpose_y=False)


def _with_vector(call: Call, left: Tensor, right: Tensor) -> Tensor:
    a = call.reshape(left, (1, *left.shape)) if left.rank == 1 else left
    b = call.reshape(right, (*right.shape, 1)) if right.rank == 1 else right
    batch = np.broadcast_shapes(a.sizes[:-2], b.sizes[:-2])
    made = call.add(
        "matmul", (*batch, a.shape[-2], b.shape[-1]), x=a, y=b, transpose_x=False, transpose_y=False
    )
    if call.out.rank == 0:
        return call.add("squeeze", (), x=call.reshape(made, (1,)), axes=[0])
    return call.reshape(made, call.out.shape)


@rule("Gemm", "alpha beta transA transB")
def gemm(call: Call) -> Tensor:
    """Y = alpha * A' @ B' + beta * C."""
    f = Formula(call)
    left, right = call.operand(0), call.operand(1)
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    if call.integer("transA", 0):
        left = call.transpose(left, (1, 0))
    bias = call.optional(2)
    if right.is_constant and alpha == 1.0:
        weight = right if call.integer("transB", 0) else call.transpose(right, (1, 0))
        return _linear(call, left, weight, bias=bias, beta=beta)
    swap = bool(call.integer("transB", 0))
    made = call.add("matmul", call.out.shape, x=left, y=right, transpose_x=False, transpose_y=swap)
    made = f.mul(made, alpha) if alpha != 1.0 else made
    if bias is None or beta == 0.0:
        return made
    return f.add(made, f.mul(bias, beta) if beta != 1.0 else bias)


def _linear(call: Call, x: Tensor, weight: Tensor, *, bias: Tensor | None, beta: float) -> Tensor:
    """x @ weight.T + beta * bias; a bias of one number a column goes into the layer."""
    count = weight.sizes[0]
    if bias is None or beta == 0.0:
        return call.emit("linear", x=x, weight=weight)
    if bias.array is not None and bias.size in (1, count) and (bias.rank < 2 or bias.shape[0] == 1):
        row = np.broadcast_to(bias.array.reshape(-1) * np.float32(beta), (count,))
        return call.emit("linear", x=x, weight=weight, bias=constant(np.ascontiguousarray(row)))
    f = Formula(call)
    made = call.emit("linear", x=x, weight=weight)
    return f.add(made, bias if beta == 1.0 else f.mul(bias, beta))
