"""Softmax and normalizations; the layout pass has put Softmax's axis last."""

from __future__ import annotations

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant, int32s


@rule("Softmax", "axis")
def softmax(call: Call) -> Tensor:
    """Y = exp(X) / sum(exp(X)) along the last axis."""
    _require_last(call)
    return call.emit("SOFTMAX", [call.x], beta=1.0)


@rule("LogSoftmax", "axis")
def log_softmax(call: Call) -> Tensor:
    """Y = log(softmax(X)) along the last axis."""
    _require_last(call)
    return call.emit("LOG_SOFTMAX", [call.x])


def _require_last(call: Call) -> None:
    call.require(
        call.opset >= 13, "before opset 13 it runs over several axes", "export with opset 13 or newer"
    )
    call.require(call.integer("axis", -1) % call.x.rank == call.x.rank - 1, "its axis is not the last one")


@rule("BatchNormalization", "epsilon momentum training_mode")
def batch_normalization(call: Call) -> Tensor:
    """Y = (X - mean) / sqrt(var + epsilon) scale + B; channels last."""
    call.require(
        not call.integer("training_mode", 0) and len(call.outs) == 1, "training mode has no LiteRT form"
    )
    f, epsilon = Formula(call), call.number("epsilon", 1e-5)
    if call.computed != [0]:
        given = [call.operand(index) for index in range(1, 5)]
        slope = f.mul(given[0], f.rsqrt(f.add(given[3], epsilon)))
        return f.add(f.mul(call.x, slope), f.sub(given[1], f.mul(given[2], slope)))
    scale, bias, mean, variance = (call.array(index).astype(np.float64) for index in range(1, 5))
    factor = scale / np.sqrt(variance + epsilon)
    made = f.mul(call.x, constant(factor.astype(np.float32)))
    return f.add(made, constant((bias - mean * factor).astype(np.float32)))


@rule("InstanceNormalization", "epsilon")
def instance_normalization(call: Call) -> Tensor:
    """Y = scale (X - mean) / sqrt(var + epsilon) + B over the spatial dims; channels last."""
    axes = list(range(1, call.x.rank - 1))
    made = _normalized(call, call.x, axes, call.number("epsilon", 1e-5))[0]
    f = Formula(call)
    return f.add(f.mul(made, call.operand(1)), call.operand(2))


@rule("LayerNormalization", "axis epsilon stash_type")
def layer_normalization(call: Call) -> list[Tensor]:
    """Y = (X - mean) / sqrt(var + epsilon) scale + B over the axes from `axis` on; mean, 1/std."""
    rank = call.x.rank
    axes = list(range(call.integer("axis", -1) % rank, rank))
    made, mean, inverse = _normalized(call, call.x, axes, call.number("epsilon", 1e-5))
    f = Formula(call)
    made = f.mul(made, call.operand(1))
    if call.has(2):
        made = f.add(made, call.operand(2))
    return [(made, mean, inverse)[index] for index in call.kept]


def _normalized(call: Call, x: Tensor, axes: list[int], epsilon: float) -> tuple[Tensor, Tensor, Tensor]:
    """((x - mean) / std, mean, 1 / std) over the axes."""
    f = Formula(call)
    shape = [1 if i in axes else size for i, size in enumerate(x.shape)]
    mean = call.add("MEAN", [x, int32s(axes)], shape, keepDims=True)
    centred = f.sub(x, mean)
    variance = call.add("MEAN", [f.square(centred), int32s(axes)], shape, keepDims=True)
    inverse = f.rsqrt(f.add(variance, epsilon))
    return f.mul(centred, inverse), mean, inverse


@rule("LpNormalization", "axis p")
def lp_normalization(call: Call) -> Tensor:
    """Y = X / (sum |X|^p)^(1/p) along the axis; 0 where all are 0."""
    power, axis = call.integer("p", 2), call.integer("axis", -1) % call.x.rank
    call.require(power in (1, 2), f"p = {power} has no LiteRT form", "use p = 1 or 2")
    f = Formula(call)
    shape = [1 if i == axis else size for i, size in enumerate(call.x.shape)]
    terms = f.abs(call.x) if power == 1 else f.square(call.x)
    total = call.add("SUM", [terms, int32s([axis])], shape, keepDims=True)
    norm = total if power == 1 else f.sqrt(total)
    return f.div(call.x, f.maximum(norm, float(np.finfo(np.float32).tiny)))


@rule("LRN", "alpha beta bias size")
def lrn(call: Call) -> Tensor:
    """Y = X / (bias + alpha / size * sum of squares of `size` channels) ^ beta; channels last."""
    size = call.integer("size", 1)
    call.require(size % 2 == 1, f"LiteRT sums over an odd number of channels, not {size}", "use an odd size")
    return call.emit(
        "LOCAL_RESPONSE_NORMALIZATION",
        [call.x],
        radius=size // 2,
        bias=call.number("bias", 1.0),
        alpha=call.number("alpha", 1e-4) / size,
        beta=call.number("beta", 0.75),
    )
