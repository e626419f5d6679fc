"""Reductions, ArgMax, CumSum, TopK."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula

if TYPE_CHECKING:
    from edgekit.targets.coreml.graph import Tensor

_ROWS = {
    "ReduceL1": "reduce_l1_norm",
    "ReduceL2": "reduce_l2_norm",
    "ReduceMax": "reduce_max",
    "ReduceMean": "reduce_mean",
    "ReduceMin": "reduce_min",
    "ReduceProd": "reduce_prod",
    "ReduceSum": "reduce_sum",
    "ReduceSumSquare": "reduce_sum_square",
}
_ATTRIBUTES = "axes keepdims noop_with_empty_axes"


def _reduced(call: Call, code: str, x: Tensor, axes: list[int]) -> Tensor:
    """The reduction in the node's own shape."""
    keep = bool(call.integer("keepdims", 1))
    size = tuple(1 if axis in axes else dim for axis, dim in enumerate(x.shape) if keep or axis not in axes)
    return call.add(code, size, x=x, axes=axes, keep_dims=keep)


@rule(" ".join(_ROWS), _ATTRIBUTES)
def reduction(call: Call) -> Tensor:
    """Y = f(X) over the axes."""
    axes = call.reduced_axes()
    f = Formula(call)
    if call.x.dtype == "bool":
        call.require(call.op in ("ReduceMax", "ReduceMin"), "it has no form on bool")
        made = _reduced(call, _ROWS[call.op], call.cast(call.x, "int32"), axes)
        return call.cast(made, "bool")
    if axes and call.x.rank:
        whole = call.x.dtype == "float32" or call.op not in ("ReduceL2", "ReduceMean")
        call.require(
            whole, f"of {call.x.dtype} it is no whole number, and how Core ML rounds it is not documented"
        )
        return _reduced(call, _ROWS[call.op], call.x, axes)
    alone = {"ReduceL1": f.abs, "ReduceL2": f.abs, "ReduceSumSquare": f.square}.get(call.op)
    return call.emit("identity", x=call.x) if alone is None else alone(call.x)


@rule("ReduceLogSum", _ATTRIBUTES)
def log_sum(call: Call) -> Tensor:
    """Y = log(sum(X)); MIL's own operation adds a small number."""
    axes = call.reduced_axes()
    total = _reduced(call, "reduce_sum", call.x, axes) if axes and call.x.rank else call.x
    return Formula(call).log(total)


@rule("ReduceLogSumExp", _ATTRIBUTES)
def log_sum_exp(call: Call) -> Tensor:
    """Y = log(sum(exp(X))), about the largest value so that nothing overflows."""
    axes = call.reduced_axes()
    if not axes or not call.x.rank:
        return call.emit("identity", x=call.x)
    f = Formula(call)
    top = f.reduce("reduce_max", call.x, axes)
    total = f.log(_reduced(call, "reduce_sum", f.exp(f.sub(call.x, top)), axes))
    return f.add(total, _reduced(call, "reduce_max", call.x, axes))


@rule("ArgMax ArgMin", "axis keepdims select_last_index")
def arg_reduce(call: Call) -> Tensor:
    """Index of the largest (smallest) value along the axis; the first, or the last, of equals."""
    code = "reduce_argmax" if call.op == "ArgMax" else "reduce_argmin"
    axis, keep = call.axis(0), bool(call.integer("keepdims", 1))
    if not call.integer("select_last_index", 0):
        return call.emit(code, x=call.x, axis=axis, keep_dims=keep)
    turned = call.add("reverse", call.x.shape, x=call.x, axes=[axis])
    found = call.emit(code, x=turned, axis=axis, keep_dims=keep)
    return Formula(call).add(Formula(call).neg(found), call.x.sizes[axis] - 1)


@rule("CumSum", "exclusive reverse")
def cumsum(call: Call) -> Tensor:
    """Y = running sums of X along the axis."""
    axis = int(call.array(1).reshape(-1)[0]) % call.x.rank
    return call.emit(
        "cumsum",
        x=call.x,
        axis=axis,
        exclusive=bool(call.integer("exclusive", 0)),
        reverse=bool(call.integer("reverse", 0)),
    )


@rule("TopK", "axis largest sorted")
def top_k(call: Call) -> list[Tensor]:
    """The k largest (smallest) values along the axis, sorted, and where they are."""
    axis = call.axis(-1)
    count = int(call.array(1).reshape(-1)[0])
    size = tuple(count if i == axis else dim for i, dim in enumerate(call.x.shape))
    made = call.add_several(
        "topk",
        [(size, None), (size, "int32")],
        x=call.x,
        k=np.int32(count),
        axis=axis,
        ascending=not call.integer("largest", 1),
    )
    return [made[index] for index in call.kept]
