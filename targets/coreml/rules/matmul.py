"""MatMul, Gemm and Einsum."""

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


@rule("Einsum", "equation")
def einsum(call: Call) -> Tensor:
    """Y = the sum of products of one or two operands, as one matrix product."""
    terms, _, result = call.text("equation", "").replace(" ", "").partition("->")
    operands = [call.operand(index) for index in range(len(call.inputs))]
    letters = terms.split(",")
    call.require(
        "." not in terms and len(operands) in (1, 2), "only one or two operands without '...' have a form"
    )
    call.require(all(len(set(term)) == len(term) for term in letters), "a letter that repeats in one operand")
    call.require(
        "->" in call.text("equation", ""), "its result is left implicit", "write '->' and the result"
    )
    if len(operands) == 1:
        return _ordered(call, operands[0], letters[0], result)
    return _product(call, operands, letters, result=result)


def _ordered(call: Call, x: Tensor, letters: str, result: str) -> Tensor:
    """Sum what the result lacks, then transpose."""
    gone = [axis for axis, letter in enumerate(letters) if letter not in result]
    if gone:
        size = tuple(dim for axis, dim in enumerate(x.shape) if axis not in gone)
        x = call.add("reduce_sum", size, x=x, axes=gone, keep_dims=False)
        letters = "".join(letter for letter in letters if letter in result)
    made = call.transpose(x, [letters.index(letter) for letter in result])
    return made if made is not call.x else call.emit("identity", x=made)


def _product(call: Call, operands: list[Tensor], letters: list[str], *, result: str) -> Tensor:
    """Letters in both and the result are the batch, in both only are summed, the others stay free."""
    left, right = letters
    sizes = {letter: dim for term, x in zip(letters, operands, strict=True)
             for letter, dim in zip(term, x.sizes, strict=True)}  # fmt: skip
    for index, (own, other) in enumerate(((left, right), (right, left))):
        alone = [letter for letter in own if letter not in other and letter not in result]
        if alone:
            kept = "".join(letter for letter in own if letter not in alone)
            operands[index] = _ordered(call, operands[index], own, kept)
            letters[index] = kept
    left, right = letters
    batch = [letter for letter in left if letter in right and letter in result]
    summed = [letter for letter in left if letter in right and letter not in result]
    rows = [letter for letter in left if letter not in right]
    columns = [letter for letter in right if letter not in left]

    def grouped(x: Tensor, own: str, groups: list[list[str]]) -> Tensor:
        moved = call.transpose(x, [own.index(letter) for group in groups for letter in group])
        return call.reshape(moved, [int(np.prod([sizes[item] for item in group])) for group in groups])

    a = grouped(operands[0], left, [batch, rows, summed])
    b = grouped(operands[1], right, [batch, summed, columns])
    made = call.add(
        "matmul", (a.shape[0], a.shape[1], b.shape[2]), x=a, y=b, transpose_x=False, transpose_y=False
    )
    order = [*batch, *rows, *columns]
    wide = call.reshape(made, [sizes[letter] for letter in order])
    return call.transpose(wide, [order.index(letter) for letter in result])
