"""Normalizations that MIL has as one operation each."""

from __future__ import annotations

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant


@rule("BatchNormalization", "epsilon momentum spatial training_mode")
def batch_norm(call: Call) -> Tensor:
    """Y = (X - mean) / sqrt(var + epsilon) * scale + B; with constant statistics one product and one sum."""
    call.require(
        len(call.outs) == 1 and not call.integer("training_mode", 0),
        "it is in training mode",
        "export the model for inference",
    )
    call.require(
        call.integer("spatial", 1), "spatial = 0 normalizes each place by itself", "use opset 9 or newer"
    )
    f, wide = Formula(call), (-1, *(1 for _ in range(call.x.rank - 2)))
    operands = [call.operand(index) for index in range(1, 5)]
    if any(item.data is None for item in operands):
        size = (operands[0].size, *wide[1:])
        gamma, beta, centre, spread = (call.reshape(item, size) for item in operands)
        unit = f.div(f.sub(call.x, centre), f.sqrt(f.add(spread, call.number("epsilon", 1e-5))))
        return f.add(f.mul(unit, gamma), beta)
    scale, bias, mean, variance = (call.array(index).astype(np.float64) for index in range(1, 5))
    factor = scale / np.sqrt(variance + call.number("epsilon", 1e-5))
    shift = bias - mean * factor
    factors, shifts = (constant(item.reshape(wide).astype(np.float32)) for item in (factor, shift))
    return f.add(f.mul(call.x, factors), shifts)


@rule("InstanceNormalization", "epsilon")
def instance_norm(call: Call) -> Tensor:
    """Y = (X - mean) / sqrt(var + epsilon) * scale + B, each over one channel's plane."""
    f, axes = Formula(call), list(range(2, call.x.rank))
    scale, bias = call.operand(1), call.operand(2)
    if call.x.rank in (3, 4) and scale.data is not None and bias.data is not None:
        return call.emit(
            "instance_norm",
            x=call.x,
            gamma=constant(np.ascontiguousarray(scale.data.reshape(-1))),
            beta=constant(np.ascontiguousarray(bias.data.reshape(-1))),
            epsilon=call.number("epsilon", 1e-5),
        )
    centred = f.sub(call.x, f.reduce("reduce_mean", call.x, axes))
    variance = f.reduce("reduce_mean", f.square(centred), axes)
    unit = f.div(centred, f.sqrt(f.add(variance, call.number("epsilon", 1e-5))))
    wide = (scale.size, *(1 for _ in axes))
    return f.add(f.mul(unit, call.reshape(scale, wide)), call.reshape(bias, wide))


@rule("LayerNormalization", "axis epsilon stash_type")
def layer_norm(call: Call) -> Tensor:
    """Y = (X - mean) / sqrt(var + epsilon) * scale + B over the last axes."""
    call.require(len(call.outs) == 1, "its mean and deviation, as results, have no Core ML form", "drop them")
    call.require(call.integer("stash_type", 1) == 1, "stash_type is not float32")
    axes = list(range(call.axis(-1), call.x.rank))
    sizes = [call.x.sizes[axis] for axis in axes]
    given = [call.optional(index) for index in (1, 2)]
    epsilon = call.number("epsilon", 1e-5)
    if all(item is None or (list(item.sizes) == sizes and item.array is not None) for item in given):
        return call.emit("layer_norm", x=call.x, axes=axes, gamma=given[0], beta=given[1], epsilon=epsilon)
    made = call.emit("layer_norm", x=call.x, axes=axes, epsilon=epsilon)
    f = Formula(call)
    made = made if given[0] is None else f.mul(made, given[0])
    return made if given[1] is None else f.add(made, given[1])


@rule("LRN", "alpha beta bias size")
def lrn(call: Call) -> Tensor:
    """Y = X / (bias + alpha / size * sum of squares of neighbouring channels)^beta."""
    call.require(call.x.rank in (3, 4), "it has neither 3 nor 4 dims")
    size = call.integer("size", 1)
    call.require(size % 2 == 1, f"its size {size} is even, and Core ML's window is centred")
    return call.emit(
        "local_response_norm",
        x=call.x,
        size=size,
        alpha=call.number("alpha", 1e-4),
        beta=call.number("beta", 0.75),
        k=call.number("bias", 1.0),
    )


@rule("LpNormalization", "axis p")
def lp_norm(call: Call) -> Tensor:
    """Y = X / (sum |X|^p)^(1/p) along one axis; zeros stay zeros."""
    power = call.integer("p", 2)
    call.require(power in (1, 2), f"p = {power} has no Core ML form")
    f = Formula(call)
    norm = f.reduce(f"reduce_l{power}_norm", call.x, [call.axis(-1)])
    one = constant(np.ones((), np.float32))
    return f.div(call.x, f.select(f.equal(norm, 0.0), one, norm))


@rule("MeanVarianceNormalization", "axes")
def mean_variance(call: Call) -> Tensor:
    """Y = (X - mean) / (deviation + 1e-9), as ONNX's body writes it."""
    f = Formula(call)
    axes = [axis % call.x.rank for axis in call.ints("axes", (0, 2, 3))]
    mean = f.reduce("reduce_mean", call.x, axes)
    variance = f.sub(f.reduce("reduce_mean", f.square(call.x), axes), f.square(mean))
    return f.div(f.sub(call.x, mean), f.add(f.sqrt(variance), 1e-9))
