"""Activations: a row where MIL has the operation, a formula where it does not."""

from __future__ import annotations

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import MOST_DIMS, Tensor, constant

_UNARY = {
    "Erf": "erf",
    "Relu": "relu",
    "Sigmoid": "sigmoid",
    "Softplus": "softplus",
    "Softsign": "softsign",
    "Tanh": "tanh",
}
# ONNX's attributes with their defaults -> MIL's parameters.
_WITH_NUMBERS: dict[str, tuple[str, dict[str, float]]] = {
    "Elu": ("elu", {"alpha": 1.0}),
    "HardSigmoid": ("sigmoid_hard", {"alpha": 0.2, "beta": 0.5}),
    "LeakyRelu": ("leaky_relu", {"alpha": 0.01}),
}


@rule(" ".join(_UNARY))
def unary(call: Call) -> Tensor:
    """Y = f(X)."""
    return call.emit(_UNARY[call.op], x=call.x)


@rule(" ".join(_WITH_NUMBERS), "alpha beta")
def with_numbers(call: Call) -> Tensor:
    """Y = f(X; alpha, beta)."""
    code, defaults = _WITH_NUMBERS[call.op]
    return call.emit(code, x=call.x, **{name: call.number(name, value) for name, value in defaults.items()})


@rule("Selu", "alpha gamma")
def selu(call: Call) -> Tensor:
    """Y = gamma * elu(X; alpha)."""
    f = Formula(call)
    made = f.unary("elu", call.x, alpha=call.number("alpha", 1.6732632423543772))
    return f.mul(made, call.number("gamma", 1.0507009873554805))


@rule("Celu", "alpha")
def celu(call: Call) -> Tensor:
    """Y = alpha * elu(X / alpha; 1)."""
    alpha = call.number("alpha", 1.0)
    call.require(alpha > 0, f"alpha is {alpha}, not above 0")
    f = Formula(call)
    return f.mul(f.unary("elu", f.div(call.x, alpha), alpha=1.0), alpha)


@rule("Gelu", "approximate")
def gelu(call: Call) -> Tensor:
    """Y = X * Phi(X), exact or by tanh."""
    modes = {"none": "EXACT", "tanh": "TANH_APPROXIMATION"}
    wish = call.text("approximate", "none")
    call.require(wish in modes, f"approximate '{wish}' is no mode of Gelu")
    return call.emit("gelu", x=call.x, mode=modes[wish])


@rule("Swish", "alpha")
def swish(call: Call) -> Tensor:
    """Y = X * sigmoid(alpha * X)."""
    alpha = call.number("alpha", 1.0)
    if alpha == 1.0:
        return call.emit("silu", x=call.x)
    f = Formula(call)
    return f.mul(call.x, f.sigmoid(f.mul(call.x, alpha)))


@rule("HardSwish")
def hard_swish(call: Call) -> Tensor:
    """Y = X * max(0, min(1, X / 6 + 0.5))."""
    f = Formula(call)
    return f.mul(call.x, f.unary("sigmoid_hard", call.x, alpha=1 / 6, beta=0.5))


@rule("Mish")
def mish(call: Call) -> Tensor:
    """Y = X * tanh(softplus(X))."""
    f = Formula(call)
    return f.mul(call.x, f.tanh(f.unary("softplus", call.x)))


@rule("ThresholdedRelu", "alpha")
def thresholded_relu(call: Call) -> Tensor:
    """Y = X where X > alpha, else 0 (MIL's own operation keeps X = alpha)."""
    f = Formula(call)
    return f.select(f.greater(call.x, call.number("alpha", 1.0)), call.x, constant(np.zeros((), np.float32)))


@rule("Shrink", "bias lambd")
def shrink(call: Call) -> Tensor:
    """Y = X + bias below -lambd, X - bias above lambd, else 0."""
    f = Formula(call)
    bias, limit, zero = (
        call.number("bias", 0.0),
        call.number("lambd", 0.5),
        constant(np.zeros((), np.float32)),
    )
    above = f.select(f.greater(call.x, limit), f.sub(call.x, bias), zero)
    return f.select(f.binary("less", call.x, -limit, "bool"), f.add(call.x, bias), above)


@rule("PRelu")
def prelu(call: Call) -> Tensor:
    """Y = X where X >= 0, else slope * X; the slope broadcasts to X."""
    slope = call.operand(1)
    if slope.data is not None and 3 <= call.x.rank <= MOST_DIMS:
        wide = (1,) * (call.x.rank - slope.rank) + slope.sizes
        if all(size == 1 for axis, size in enumerate(wide) if axis != 1) and isinstance(call.x.shape[1], int):
            alpha = np.broadcast_to(slope.data.reshape(-1), (call.x.shape[1],))
            return call.emit("prelu", x=call.x, alpha=constant(np.ascontiguousarray(alpha)))
    f = Formula(call)
    return f.add(f.relu(call.x), f.mul(slope, f.minimum(call.x, 0.0)))


@rule("Clip", "max min")
def clip(call: Call) -> Tensor:
    """Y = min(max(X, low), high)."""
    low, high = (_bound(call, index, name) for index, name in ((1, "min"), (2, "max")))
    if call.x.dtype == "float32" and all(item is None or item.data is not None for item in (low, high)):
        floor = -np.inf if low is None or low.data is None else float(low.data.reshape(()))
        ceiling = np.inf if high is None or high.data is None else float(high.data.reshape(()))
        if floor == 0.0 and ceiling == 6.0:
            return call.emit("relu6", x=call.x)
        if floor == 0.0 and ceiling == np.inf:
            return call.emit("relu", x=call.x)
        if np.isfinite(floor) and np.isfinite(ceiling) and floor <= ceiling:
            return call.emit("clip", x=call.x, alpha=floor, beta=ceiling)
    f = Formula(call)
    made = call.x if low is None else f.maximum(call.x, low)
    made = made if high is None else f.minimum(made, high)
    return made if made is not call.x else call.emit("identity", x=call.x)


def _bound(call: Call, index: int, name: str) -> Tensor | None:
    if call.given(name):
        return constant(np.asarray(call.number(name, 0.0), np.float32))
    return call.optional(index)


@rule("Softmax", "axis")
def softmax(call: Call) -> Tensor:
    """Y = exp(X) / sum(exp(X)) along one axis."""
    call.require(
        call.opset >= 13, "before opset 13 it runs over several axes", "export with opset 13 or newer"
    )
    return call.emit("softmax", x=call.x, axis=call.axis(-1))


@rule("LogSoftmax", "axis")
def log_softmax(call: Call) -> Tensor:
    """Y = X - max - log(sum(exp(X - max)))."""
    call.require(
        call.opset >= 13, "before opset 13 it runs over several axes", "export with opset 13 or newer"
    )
    f, axes = Formula(call), [call.axis(-1)]
    shifted = f.sub(call.x, f.reduce("reduce_max", call.x, axes))
    return f.sub(shifted, f.log(f.reduce("reduce_sum", f.exp(shifted), axes)))


@rule("Hardmax", "axis")
def hardmax(call: Call) -> Tensor:
    """Y = 1 at the first largest value of the axis, else 0."""
    call.require(
        call.opset >= 13, "before opset 13 it runs over several axes", "export with opset 13 or newer"
    )
    axis = call.axis(-1)
    rest = tuple(dim for i, dim in enumerate(call.x.shape) if i != axis)
    place = call.add("reduce_argmax", rest, makes="int32", x=call.x, axis=axis, keep_dims=False)
    size = call.x.sizes[axis]
    return call.emit(
        "one_hot", indices=place, one_hot_vector_size=size, axis=axis, on_value=1.0, off_value=0.0
    )
