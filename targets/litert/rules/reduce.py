"""Reductions, ArgMax, CumSum, TopK."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import ROUNDED, Tensor, constant, int32s

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

_ROWS = {
    "ReduceMax": "REDUCE_MAX",
    "ReduceMean": "MEAN",
    "ReduceMin": "REDUCE_MIN",
    "ReduceProd": "REDUCE_PROD",
    "ReduceSum": "SUM",
}
# What is reduced by SUM, and what comes after.
_SUMS: dict[str, tuple[Callable[[Formula, Tensor], Tensor], Callable[[Formula, Tensor], Tensor]]] = {
    "ReduceL1": (lambda f, x: f.abs(x), lambda _, y: y),
    "ReduceL2": (lambda f, x: f.square(x), lambda f, y: f.sqrt(y)),
    "ReduceLogSum": (lambda _, x: x, lambda f, y: f.log(y)),
    "ReduceSumSquare": (lambda f, x: f.square(x), lambda _, y: y),
}
_ATTRIBUTES = "axes keepdims noop_with_empty_axes"


def reduced(call: Call, code: str, x: Tensor, axes: Sequence[int]) -> Tensor:
    """The reduction with keepdims, of x's own dtype."""
    shape = [1 if i in axes else size for i, size in enumerate(x.shape)]
    like = call.out if x.dtype in ROUNDED else x
    return call.add(code, [x, int32s(axes)], shape, like=like, keepDims=True)


@rule(" ".join(_ROWS), _ATTRIBUTES)
def reduction(call: Call) -> Tensor:
    """Y = f(X) over the axes."""
    axes = call.reduced_axes()
    if not axes:
        return call.x
    return call.reshape(reduced(call, _ROWS[call.op], call.x, axes), call.out.shape)


@rule(" ".join(_SUMS), _ATTRIBUTES)
def sum_of(call: Call) -> Tensor:
    """Y = g(sum(f(X))) over the axes."""
    axes = call.reduced_axes()
    call.require(call.x.dtype == "float32", f"LiteRT computes it on no {call.x.dtype}")
    before, after = _SUMS[call.op]
    f = Formula(call)
    inner = before(f, call.x)
    total = reduced(call, "SUM", inner, axes) if axes else inner
    return call.reshape(after(f, total), call.out.shape)


@rule("ReduceLogSumExp", _ATTRIBUTES)
def log_sum_exp(call: Call) -> Tensor:
    """Y = log(sum(exp(X))), about the largest value so that nothing overflows."""
    axes = call.reduced_axes()
    call.require(axes and call.x.dtype == "float32", "this form of it has no LiteRT form")
    f = Formula(call)
    top = reduced(call, "REDUCE_MAX", call.x, axes)
    total = reduced(call, "SUM", f.exp(f.sub(call.x, top)), axes)
    return call.reshape(f.add(f.log(total), top), call.out.shape)


@rule("ArgMax ArgMin", "axis keepdims select_last_index")
def arg_reduce(call: Call) -> Tensor:
    """Index of the largest (smallest) value along the axis; the first of equals."""
    call.require(
        not call.integer("select_last_index", 0), "LiteRT gives the first of equal values, not the last"
    )
    axis = call.integer("axis", 0) % call.x.rank
    shape = [size for i, size in enumerate(call.x.shape) if i != axis]
    code = "ARG_MAX" if call.op == "ArgMax" else "ARG_MIN"
    like = Tensor((), "int64")
    dim = constant(np.asarray(axis, np.int32))
    made = call.add(code, [call.x, dim], shape, like=like, outputType="int64")
    return call.reshape(made, call.out.shape)


@rule("CumSum", "exclusive reverse")
def cumsum(call: Call) -> Tensor:
    """Y = running sums of X along the axis."""
    axis = constant(np.asarray(int(call.array(1).reshape(-1)[0]) % call.x.rank, np.int32))
    return call.emit(
        "CUMSUM",
        [call.x, axis],
        exclusive=bool(call.integer("exclusive", 0)),
        reverse=bool(call.integer("reverse", 0)),
    )


@rule("TopK", "axis largest sorted")
def top_k(call: Call) -> list[Tensor]:
    """The k largest values along the last axis, and where they are."""
    call.require(call.integer("axis", -1) % call.x.rank == call.x.rank - 1, "its axis is not the last one")
    largest = call.integer("largest", 1)
    call.require(largest or call.x.dtype == "float32", "the smallest of integers have no LiteRT form")
    count = int(call.array(1).reshape(-1)[0])
    x = call.x if largest else call.add("NEG", [call.x], call.x.shape)
    shape = (*x.shape[:-1], count)
    values = call.add("TOPK_V2", [x, constant(np.asarray(count, np.int32))], shape)
    places = Tensor(shape, "int32")
    operator = call.graph.operators[-1]
    operator.outputs = (values, places)
    values = values if largest else call.add("NEG", [values], shape)
    return [(values, call.cast(places, "int64"))[index] for index in call.kept]


@rule("Hardmax", "axis")
def hardmax(call: Call) -> Tensor:
    """Y = 1 at the first largest value of the last axis, else 0."""
    x = call.x
    call.require(
        call.opset >= 13, "before opset 13 it runs over several axes", "export with opset 13 or newer"
    )
    call.require(call.integer("axis", -1) % x.rank == x.rank - 1, "its axis is not the last one")
    dim = constant(np.asarray(x.rank - 1, np.int32))
    place = call.add("ARG_MAX", [x, dim], x.shape[:-1], like=Tensor((), "int32"), outputType="int32")
    return one_hot(call, place, x.shape[-1])


def one_hot(call: Call, indices: Tensor, depth: int) -> Tensor:
    """1.0 where the last axis's position is the index: float32 of one dim more."""
    positions = constant(np.arange(depth, dtype=np.int32).reshape((1,) * indices.rank + (depth,)))
    shape = (*indices.shape, depth)
    wide = call.reshape(call.cast(indices, "int32"), (*indices.shape, 1))
    hit = call.add("EQUAL", [wide, positions], shape, like=Tensor(shape, "bool"))
    return call.cast(hit, "float32")
