"""One step of a GRU, an RNN or an LSTM with peepholes, as operations of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray

    from edgekit.targets.coreml.call import Call

    Floats = NDArray[np.float32]
    # W x + b of one step [batch, gates * hidden], the states before -> the states after.
    Step = Callable[[Tensor, tuple[Tensor, ...]], tuple[Tensor, ...]]
    MakeStep = Callable[[Call, "Direction"], Step]


@dataclass(frozen=True)
class Direction:
    """One direction's constant parameters; gates in ONNX's order, one below the other."""

    w: Floats
    r: Floats
    wb: Floats
    rb: Floats
    peepholes: Floats | None
    backward: bool


def _linear(call: Call, x: Tensor, weight: Floats, bias: Floats) -> Tensor:
    return call.add("linear", (x.shape[0], len(weight)), x=x, weight=constant(weight), bias=constant(bias))


def _gate(call: Call, x: Tensor, index: int, hidden: int) -> Tensor:
    return call.slice(x, 1, index * hidden, (index + 1) * hidden)


def lstm_step(call: Call, item: Direction) -> Step:
    """Hidden state and cell; with peepholes, in ONNX's order i o f."""
    f, hidden = Formula(call), item.r.shape[1]
    given = np.zeros(3 * hidden, np.float32) if item.peepholes is None else item.peepholes
    p_i, p_o, p_f = (constant(part) for part in given.reshape(3, hidden))

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        h, c = states
        gates = f.add(x, _linear(call, h, item.r, item.rb))
        i = f.sigmoid(f.add(_gate(call, gates, 0, hidden), f.mul(p_i, c)))
        forget = f.sigmoid(f.add(_gate(call, gates, 2, hidden), f.mul(p_f, c)))
        cell = f.add(f.mul(forget, c), f.mul(i, f.tanh(_gate(call, gates, 3, hidden))))
        o = f.sigmoid(f.add(_gate(call, gates, 1, hidden), f.mul(p_o, cell)))
        return f.mul(o, f.tanh(cell)), cell

    return step


def gru_step(call: Call, item: Direction) -> Step:
    """Hidden state; the reset gate stands where linear_before_reset says."""
    f, hidden = Formula(call), item.r.shape[1]
    linear = bool(call.integer("linear_before_reset", 0))
    kept = (3 if linear else 2) * hidden
    last_r, last_rb = item.r[2 * hidden :], item.rb[2 * hidden :]

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (h,) = states
        right = _linear(call, h, item.r[:kept], item.rb[:kept])
        update = f.sigmoid(f.add(_gate(call, x, 0, hidden), _gate(call, right, 0, hidden)))
        reset = f.sigmoid(f.add(_gate(call, x, 1, hidden), _gate(call, right, 1, hidden)))
        inner = (
            f.mul(reset, _gate(call, right, 2, hidden))
            if linear
            else _linear(call, f.mul(reset, h), last_r, last_rb)
        )
        fresh = f.tanh(f.add(_gate(call, x, 2, hidden), inner))
        return (f.add(f.mul(f.sub(1.0, update), fresh), f.mul(update, h)),)

    return step


def rnn_step(call: Call, item: Direction) -> Step:
    """Hidden state: tanh of the sum."""
    f = Formula(call)
    return lambda x, states: (f.tanh(f.add(x, _linear(call, states[0], item.r, item.rb))),)
