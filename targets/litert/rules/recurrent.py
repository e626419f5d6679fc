"""LSTM and GRU, step by step: every state is a plain tensor, so nothing is kept between two invokes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.call import Call, rule
from edgekit.targets.litert.formula import Formula
from edgekit.targets.litert.graph import Tensor, constant
from edgekit.targets.litert.rules.matmul import fully_connected
from edgekit.targets.litert.rules.places import Places

if TYPE_CHECKING:
    from collections.abc import Callable

_MOST_STEPS = 256
_BLANK = Tensor((), "float32")


@dataclass(frozen=True)
class _Direction:
    """Weights of one direction: W [gates*H, I], R [gates*H, H], Wb and Rb [gates*H], peepholes 3 x [H]."""

    w: Tensor
    r: Tensor
    wb: Tensor
    rb: Tensor
    peepholes: tuple[Tensor, ...]
    reverse: bool


def _directions(call: Call, gates: int) -> list[_Direction]:
    count, hidden = call.operand(2).shape[0], call.operand(2).shape[2]
    half = gates * hidden
    name = call.text("direction", "forward")
    bias = call.optional(3) or constant(np.zeros((count, 2 * half), np.float32))
    peepholes = call.optional(7) if call.op == "LSTM" else None
    return [
        _Direction(
            _rows(call, call.operand(1), i),
            _rows(call, call.operand(2), i),
            _part(call, _rows(call, bias, i), 0, half),
            _part(call, _rows(call, bias, i), half, half),
            ()
            if peepholes is None
            else tuple(_part(call, _rows(call, peepholes, i), k * hidden, hidden) for k in range(3)),
            reverse=name == "reverse" or i == 1,
        )
        for i in range(count)
    ]


def _rows(call: Call, x: Tensor, index: int) -> Tensor:
    """Entry `index` of the first dim, which goes."""
    cut = call.slice(x, (index, *(0 for _ in x.shape[1:])), (1, *x.shape[1:]))
    return call.reshape(cut, x.shape[1:])


def _part(call: Call, x: Tensor, begin: int, count: int) -> Tensor:
    """Some entries of the first dim."""
    return call.slice(x, (begin, *(0 for _ in x.shape[1:])), (count, *x.shape[1:]))


def _beside(call: Call, left: Tensor, right: Tensor) -> Tensor:
    """Both along axis 1."""
    if left.data is not None and right.data is not None:
        return constant(np.concatenate([left.data, right.data], 1))
    shape = (left.shape[0], left.shape[1] + right.shape[1])
    return call.add("CONCATENATION", [left, right], shape, axis=1)


def _plus(call: Call, left: Tensor, right: Tensor) -> Tensor:
    if left.data is not None and right.data is not None:
        return constant(np.asarray(left.data + right.data))
    return Formula(call).add(left, right)


def _require_plain(call: Call, default: list[str]) -> None:
    """Default activations, no clip, time first."""
    count = 2 if call.text("direction", "forward") == "bidirectional" else 1
    names = (
        [str(item) for item in call.attribute("activations")]
        if call.given("activations")
        else default * count
    )
    call.require(names == default * count, f"activations {names} have no LiteRT form", "use the default ones")
    call.require(not call.given("clip"), "clip has no LiteRT form")
    call.require(
        not call.integer("layout", 0), "layout 1 has no LiteRT form", "export with layout 0 (time first)"
    )
    steps = call.x.shape[0]
    call.require(
        steps * count <= _MOST_STEPS,
        f"{steps} steps are written out one by one, and edgekit writes at most {_MOST_STEPS}",
        "split the sequence and carry the state",
    )


def _state(call: Call, index: int, number: int, hidden: int) -> Tensor:
    """The initial state of one direction [batch, hidden]; zeros where none is given."""
    batch = call.x.shape[1]
    given = call.optional(index)
    if given is None:
        return constant(np.zeros((batch, hidden), np.float32))
    if given.data is not None:
        return constant(given.data[number])
    return call.reshape(call.slice(given, (number, 0, 0), (1, batch, hidden)), (batch, hidden))


def _run(
    call: Call, direction: _Direction, states: tuple[Tensor, ...], step: Callable[..., tuple[Tensor, ...]]
) -> tuple[list[Tensor], tuple[Tensor, ...]]:
    """All outputs [1, 1, batch, hidden] in time's order, and the last states."""
    count, places = call.x.shape[0], Places(call)
    lengths = call.optional(4)
    if lengths is not None and lengths.data is not None and np.all(lengths.data == count):
        lengths = None
    made: list[Tensor] = []
    order = range(count - 1, -1, -1) if direction.reverse else range(count)
    for time in order:
        fresh = step(_rows(call, call.x, time), states)
        shown = fresh[0]
        if lengths is not None:
            within = call.reshape(places.less(np.array(time), lengths), (lengths.size, 1))
            shown = _chosen(call, within, shown, constant(np.zeros(shown.shape, np.float32)))
            fresh = tuple(_chosen(call, within, a, b) for a, b in zip(fresh, states, strict=True))
        states = fresh
        made.append(call.reshape(shown, (1, 1, *shown.shape)))
    return (made[::-1] if direction.reverse else made), states


def _chosen(call: Call, condition: Tensor, left: Tensor, right: Tensor) -> Tensor:
    return call.add("SELECT_V2", [condition, left, right], left.shape, like=left)


def _recurrent(
    call: Call,
    gates: int,
    step_of: Callable[[Call, _Direction], Callable[..., tuple[Tensor, ...]]],
    count: int,
) -> list[Tensor]:
    """Y [time, directions, batch, hidden], then the last states [directions, batch, hidden]."""
    hidden = call.operand(2).shape[2]
    columns, lasts = [], []
    for number, direction in enumerate(_directions(call, gates)):
        states = tuple(_state(call, 5 + i, number, hidden) for i in range(count))
        rows, last = _run(call, direction, states, step_of(call, direction))
        columns.append(_joined(call, rows, 0))
        lasts.append(last)
    results = [_joined(call, columns, 1)]
    for i in range(count):
        ends = [call.reshape(last[i], (1, *last[i].shape)) for last in lasts]
        results.append(_joined(call, ends, 0))
    return [results[index] for index in call.kept]


def _joined(call: Call, parts: list[Tensor], axis: int) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    shape = list(parts[0].shape)
    shape[axis] = sum(part.shape[axis] for part in parts)
    return call.add("CONCATENATION", parts, shape, axis=axis)


def _gate(call: Call, x: Tensor, index: int) -> Tensor:
    """Gate `index` of [batch, gates*hidden]."""
    hidden = call.operand(2).shape[2]
    return call.slice(x, (0, index * hidden), (x.shape[0], hidden))


@rule("LSTM", "activations direction hidden_size layout clip input_forget")
def lstm(call: Call) -> list[Tensor]:
    """Y, Y_h, Y_c = LSTM(X, W, R, B, lens, h0, c0, P); gates in ONNX's order i o f c."""
    _require_plain(call, ["Sigmoid", "Tanh", "Tanh"])
    call.require(not call.integer("input_forget", 0), "input_forget has no LiteRT form")
    return _recurrent(call, 4, _lstm_step, 2)


def _lstm_step(call: Call, direction: _Direction) -> Callable[..., tuple[Tensor, ...]]:
    f = Formula(call)
    weights = _beside(call, direction.w, direction.r)
    bias = _plus(call, direction.wb, direction.rb)

    def peep(value: Tensor, cell: Tensor, index: int) -> Tensor:
        return f.add(value, f.mul(cell, direction.peepholes[index])) if direction.peepholes else value

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        hidden, cell = states
        joined = _beside(call, x, hidden)
        gates = fully_connected(call, joined, weights, bias, like=_BLANK)
        enter = f.sigmoid(peep(_gate(call, gates, 0), cell, 0))
        forget = f.sigmoid(peep(_gate(call, gates, 2), cell, 2))
        fresh = f.add(f.mul(forget, cell), f.mul(enter, f.tanh(_gate(call, gates, 3))))
        leave = f.sigmoid(peep(_gate(call, gates, 1), fresh, 1))
        return f.mul(leave, f.tanh(fresh)), fresh

    return step


@rule("GRU", "activations direction hidden_size layout clip linear_before_reset")
def gru(call: Call) -> list[Tensor]:
    """Y, Y_h = GRU(X, W, R, B, lens, h0); gates in ONNX's order z r h."""
    _require_plain(call, ["Sigmoid", "Tanh"])
    return _recurrent(call, 3, _gru_step, 1)


def _gru_step(call: Call, direction: _Direction) -> Callable[..., tuple[Tensor, ...]]:
    f = Formula(call)
    hidden = direction.r.shape[1]
    w, wb = direction.w, direction.wb
    linear = call.integer("linear_before_reset", 0)
    kept = 3 if linear else 2
    r, rb = (_part(call, item, 0, kept * hidden) for item in (direction.r, direction.rb))
    last_r, last_rb = (_part(call, item, 2 * hidden, hidden) for item in (direction.r, direction.rb))

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (state,) = states
        left = fully_connected(call, x, w, wb, like=_BLANK)
        right = fully_connected(call, state, r, rb, like=_BLANK)
        update = f.sigmoid(f.add(_gate(call, left, 0), _gate(call, right, 0)))
        reset = f.sigmoid(f.add(_gate(call, left, 1), _gate(call, right, 1)))
        inner = (
            f.mul(reset, _gate(call, right, 2))
            if linear
            else fully_connected(call, f.mul(reset, state), last_r, last_rb, like=_BLANK)
        )
        fresh = f.tanh(f.add(_gate(call, left, 2), inner))
        return (f.add(f.mul(f.sub(1.0, update), fresh), f.mul(update, state)),)

    return step


@rule("RNN", "activations direction hidden_size layout clip")
def rnn(call: Call) -> list[Tensor]:
    """Y, Y_h = RNN(X, W, R, B, lens, h0) with tanh."""
    _require_plain(call, ["Tanh"])
    return _recurrent(call, 1, _rnn_step, 1)


def _rnn_step(call: Call, direction: _Direction) -> Callable[..., tuple[Tensor, ...]]:
    f = Formula(call)
    weights = _beside(call, direction.w, direction.r)
    bias = _plus(call, direction.wb, direction.rb)

    def step(x: Tensor, states: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
        (state,) = states
        joined = _beside(call, x, state)
        return (f.tanh(fully_connected(call, joined, weights, bias, like=_BLANK)),)

    return step
