"""Matrix products: FULLY_CONNECTED where the right side is constant, else BATCH_MATMUL."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.graph import ROUNDED, Tensor, constant
from edgekit.targets.litert.parameters import bias_tensor, moved_axis

if TYPE_CHECKING:
    from collections.abc import Sequence


def fully_connected(
    call: Call, x: Tensor, weights: Tensor, bias: Tensor | None, *, like: Tensor | None = None
) -> Tensor:
    """x [..., K] times weights [N, K] (scales along axis 0) plus bias [N]."""
    shape = (*x.shape[:-1], weights.shape[0])
    return call.add(
        "FULLY_CONNECTED", [x, weights, bias], shape, like=like or call.out, keepNumDims=len(shape) > 2
    )


def _are_multiplied(a: Tensor, b: Tensor) -> bool:
    """Both float, or rounded: 16-bit data take 8-bit constants."""
    if a.dtype == "int16" and b.data is not None:
        return b.dtype == "int8"
    return a.dtype == b.dtype and a.dtype in ("float32", *ROUNDED)


@rule("MatMul")
def matmul(call: Call) -> Tensor:
    """Y = A B as numpy.matmul; one-dim operands are a row or a column."""
    a, b = call.operand(0), call.operand(1)
    call.require(_are_multiplied(a, b), f"LiteRT multiplies no {a.dtype} by {b.dtype} matrices")
    if a.rank == 1:
        a = call.reshape(a, (1, *a.shape))
    if b.rank == 1:
        b = call.reshape(b, (*b.shape, 1))
    if b.data is not None and b.rank == 2:
        weights = _kept_small(call, constant(b.data.T, moved_axis(b.quant, 0)), b, turned=True)
        bias = bias_tensor(call, 2, weights.shape[0], a) if a.dtype in ROUNDED else None
        made = fully_connected(call, a, weights, bias)
    else:
        call.require(max(a.rank, b.rank) <= 5, "LiteRT's BATCH_MATMUL takes at most 5 dims")
        per_tensor = b.quant is None or len(b.quant.scales) == 1
        call.require(per_tensor, "a batched product with scales per channel has no LiteRT form")
        made = _batched(call, a, b)
    return call.reshape(made, call.out.shape)


def _kept_small(call: Call, weights: Tensor, source: Tensor, *, turned: bool) -> Tensor:
    """Float weights that were int8 in the graph stay int8 in the file, behind a DEQUANTIZE.

    `turned`: the weights [N, K] are the source [K, N] transposed.
    """
    integers = source.integers
    if integers is None or integers.data is None or integers.quant is None:
        return weights
    quant = integers.quant
    axis = quant.axis if len(quant.scales) == 1 or not turned else 1 - quant.axis
    codes = constant(integers.data.T if turned else integers.data, replace(quant, axis=axis))
    return call.add("DEQUANTIZE", [codes], weights.shape, like=Tensor((), "float32"))


def _batched(call: Call, a: Tensor, b: Tensor) -> Tensor:
    rank = max(a.rank, b.rank)
    a, b = (call.reshape(item, (1,) * (rank - item.rank) + item.shape) for item in (a, b))
    batch = np.broadcast_shapes(a.shape[:-2], b.shape[:-2])
    return call.add("BATCH_MATMUL", [a, b], (*batch, a.shape[-2], b.shape[-1]), like=call.out)


@rule("Gemm", "alpha beta transA transB")
def gemm(call: Call) -> Tensor:
    """Y = alpha A' B' + beta C."""
    alpha, beta = call.number("alpha", 1.0), call.number("beta", 1.0)
    a, b = call.operand(0), call.operand(1)
    call.require(_are_multiplied(a, b), f"LiteRT multiplies no {a.dtype} by {b.dtype} matrices")
    if call.integer("transA", 0):
        a = call.transpose(a, (1, 0))
    if b.data is not None:
        return _constant_gemm(call, a, alpha, beta)
    if call.integer("transB", 0):
        b = call.transpose(b, (1, 0))
    made = call.add("BATCH_MATMUL", [a, b], call.out.shape, like=call.out)
    return _plus(call, _scaled(call, made, alpha), beta)


def _constant_gemm(call: Call, a: Tensor, alpha: float, beta: float) -> Tensor:
    b = call.operand(1)
    weights: Any = call.array(1) if call.integer("transB", 0) else call.array(1).T
    if a.dtype in ROUNDED:
        call.require(alpha == beta == 1, "alpha and beta other than 1 have no int8 form")
        bias = bias_tensor(call, 2, weights.shape[0], a)
        return fully_connected(call, a, constant(weights, moved_axis(b.quant, 0)), bias)
    kernel = constant(weights * np.float32(alpha) if alpha != 1 else weights)
    if alpha == 1:
        kernel = _kept_small(call, kernel, b, turned=not call.integer("transB", 0))
    c = call.optional(2)
    if c is None:
        return fully_connected(call, a, kernel, None)
    if (
        c.data is not None
        and c.size in (1, weights.shape[0])
        and c.shape[-1:] in ((), (1,), (weights.shape[0],))
    ):
        values = np.broadcast_to(c.data.reshape(-1), (weights.shape[0],)) * np.float32(beta)
        if c.rank < 2 or c.shape[0] == 1:
            return fully_connected(call, a, kernel, constant(np.ascontiguousarray(values)))
    return _plus(call, fully_connected(call, a, kernel, None), beta)


def _scaled(call: Call, x: Tensor, factor: float) -> Tensor:
    return x if factor == 1 else call.emit("MUL", [x, call.scalar(factor, x)])


def _plus(call: Call, product: Tensor, beta: float) -> Tensor:
    c = call.optional(2)
    if c is None or beta == 0:
        return product
    if beta != 1:
        c = call.add("MUL", [c, call.scalar(beta, c)], c.shape)
    return call.emit("ADD", [product, c])


def along_last(call: Call, x: Tensor, matrix: Any, axis: int, shape: Sequence[int]) -> Tensor:
    """`matrix` [new, old] applied along one axis of float `x`."""
    order = [i for i in range(x.rank) if i != axis] + [axis]
    back = [order.index(i) for i in range(x.rank)]
    moved = call.transpose(x, order)
    flat = call.reshape(moved, (moved.size // moved.shape[-1], moved.shape[-1]))
    made = fully_connected(call, flat, constant(matrix.astype(np.float32)), None, like=x)
    return call.transpose(call.reshape(made, [shape[i] for i in order]), back)
