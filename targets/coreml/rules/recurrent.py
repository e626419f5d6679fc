"""LSTM as MIL's own operation; GRU, RNN and LSTM with peepholes written out step by step, or as a loop.

MIL's documentation leaves open where `gru` applies its reset gate (its formula and that of iOS 18's parameter
`reset_after` contradict each other) and what peepholes read, so edgekit does not use those.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.coreml.call import Call, rule
from edgekit.targets.coreml.formula import Formula
from edgekit.targets.coreml.graph import Graph, Loop, Tensor, constant
from edgekit.targets.coreml.rules.recurrent_cells import Direction, gru_step, lstm_step, rnn_step

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.coreml.rules.recurrent_cells import Floats, MakeStep

_ATTRIBUTES = "activation_alpha activation_beta activations clip direction hidden_size layout"
# More steps than that become a loop: it stays off the Neural Engine, but the program stays small.
_MOST_STEPS = 256
# Gates in ONNX's order -> in MIL's: i o f c -> i f o z; peepholes i o f -> i f o.
_IFOZ = (0, 2, 1, 3)


def _directions(call: Call, gates: int) -> list[Direction]:
    w, r = (call.array(index).astype(np.float32) for index in (1, 2))
    hidden = r.shape[2]
    b = call.optional_array(3)
    b = np.zeros((len(w), 2 * gates * hidden), np.float32) if b is None else b.astype(np.float32)
    peepholes = call.optional_array(7)
    peepholes = None if peepholes is None or not np.any(peepholes) else peepholes.astype(np.float32)
    direction = call.text("direction", "forward")
    call.require(len(w) == (2 if direction == "bidirectional" else 1), "its weights do not fit its direction")
    return [
        Direction(
            w[i],
            r[i],
            b[i, : gates * hidden],
            b[i, gates * hidden :],
            None if peepholes is None else peepholes[i],
            backward=i == 1 or direction == "reverse",
        )
        for i in range(len(w))
    ]


def _require_plain(call: Call, activations: Sequence[str]) -> None:
    count = 2 if call.text("direction", "forward") == "bidirectional" else 1
    given = call.attribute("activations") if call.given("activations") else list(activations) * count
    call.require(
        [str(item).lower() for item in given] == [item.lower() for item in activations] * count,
        f"its activations {list(given)} are not {list(activations)}",
    )
    for name in ("activation_alpha", "activation_beta"):
        call.require(not call.given(name) or not len(call.attribute(name)), f"{name} is given")
    call.require(not call.given("clip"), "its clip has no Core ML form")
    call.require(not call.integer("input_forget", 0), "its input_forget has no Core ML form")
    lengths = call.optional(4)
    if lengths is not None:
        steps = call.x.sizes[1 if call.integer("layout", 0) else 0]
        same = lengths.array is not None and np.all(lengths.array == steps)
        call.require(same, "its sequence_lens differ from the data's length", "leave sequence_lens out")


def _steps_first(call: Call) -> Tensor:
    """X as [steps, batch, input]."""
    return call.transpose(call.x, (1, 0, 2)) if call.integer("layout", 0) else call.x


def _state(call: Call, index: int, directions: int, hidden: int) -> Tensor:
    """An initial state as [batch, directions * hidden]; zeros where it is left out."""
    batch = _steps_first_shape(call)[1]
    if not call.has(index):
        call.require(isinstance(batch, int), "a batch that only the run knows, without an initial state")
        return constant(np.zeros((int(batch), directions * hidden), np.float32))
    given = call.operand(index)
    moved = given if call.integer("layout", 0) else call.transpose(given, (1, 0, 2))
    return call.reshape(moved, (moved.shape[0], directions * hidden))


def _steps_first_shape(call: Call) -> tuple[int | str, ...]:
    shape = call.x.shape
    return (shape[1], shape[0], shape[2]) if call.integer("layout", 0) else shape


def _all_steps(call: Call, y: Tensor, directions: int, hidden: int) -> Tensor:
    """[steps, batch, directions * hidden] -> ONNX's Y."""
    wide = call.reshape(y, (*y.shape[:2], directions, hidden))
    return call.transpose(wide, (1, 0, 2, 3) if call.integer("layout", 0) else (0, 2, 1, 3))


def _last_step(call: Call, h: Tensor, directions: int, hidden: int) -> Tensor:
    """[batch, directions * hidden] -> ONNX's Y_h or Y_c."""
    wide = call.reshape(h, (h.shape[0], directions, hidden))
    return wide if call.integer("layout", 0) else call.transpose(wide, (1, 0, 2))


@rule("LSTM", f"{_ATTRIBUTES} input_forget")
def lstm(call: Call) -> list[Tensor]:
    """Y, Y_h, Y_c = LSTM(X, W, R, B, lens, h0, c0, P); gates in ONNX's order i o f c."""
    _require_plain(call, ["Sigmoid", "Tanh", "Tanh"])
    directions = _directions(call, 4)
    if any(item.peepholes is not None for item in directions):
        return _written_out(call, directions, (5, 6), lstm_step)
    hidden, count = directions[0].r.shape[1], len(directions)
    x, turn = _steps_first(call), count == 1 and directions[0].backward
    x = call.add("reverse", x.shape, x=x, axes=[0]) if turn else x
    steps, batch, _ = x.shape
    parameters = {f"{key}{suffix}": value for item, suffix in zip(directions, ("", "_back"), strict=False)
                  for key, value in _native_parameters(item).items()}  # fmt: skip
    made = call.add_several(
        "lstm",
        [((steps, batch, count * hidden), None), *[((batch, count * hidden), None)] * 2],
        x=x,
        initial_h=_state(call, 5, count, hidden),
        initial_c=_state(call, 6, count, hidden),
        direction="bidirectional" if count == 2 else "forward",
        output_sequence=True,
        **parameters,
    )
    y = call.add("reverse", made[0].shape, x=made[0], axes=[0]) if turn else made[0]
    results = (
        lambda: _all_steps(call, y, count, hidden),
        lambda: _last_step(call, made[1], count, hidden),
        lambda: _last_step(call, made[2], count, hidden),
    )
    return [results[index]() for index in call.kept]


def _native_parameters(item: Direction) -> dict[str, Tensor]:
    hidden = item.r.shape[1]

    def ordered(rows: Floats) -> Tensor:
        parts = rows.reshape(4, hidden, *rows.shape[1:])
        return constant(np.ascontiguousarray(parts[list(_IFOZ)].reshape(rows.shape)))

    return {"weight_ih": ordered(item.w), "weight_hh": ordered(item.r), "bias": ordered(item.wb + item.rb)}


@rule("GRU", f"{_ATTRIBUTES} linear_before_reset")
def gru(call: Call) -> list[Tensor]:
    """Y, Y_h = GRU(X, W, R, B, lens, h0); gates in ONNX's order z r h."""
    _require_plain(call, ["Sigmoid", "Tanh"])
    return _written_out(call, _directions(call, 3), (5,), gru_step)


@rule("RNN", _ATTRIBUTES)
def rnn(call: Call) -> list[Tensor]:
    """Y, Y_h = RNN(X, W, R, B, lens, h0) with tanh."""
    _require_plain(call, ["Tanh"])
    return _written_out(call, _directions(call, 1), (5,), rnn_step)


def _written_out(
    call: Call,
    directions: list[Direction],
    states: tuple[int, ...],
    make_step: MakeStep,
) -> list[Tensor]:
    """Step by step; `states` are the inputs that hold the initial ones."""
    x = _steps_first(call)
    hidden, count = directions[0].r.shape[1], len(directions)
    run = _steps_apart if x.sizes[0] * count <= _MOST_STEPS else _steps_in_loop
    starts = [_state(call, index, count, hidden) for index in states]
    sequences, finals = [], []
    for place, item in enumerate(directions):
        begin = tuple(call.slice(start, 1, place * hidden, (place + 1) * hidden) for start in starts)
        sequence, final = run(call, x, item, begin=begin, make_step=make_step)
        sequences.append(sequence)
        finals.append(final)
    joined = [
        _joined(call, sequences, 2),
        *(_joined(call, list(pair), 1) for pair in zip(*finals, strict=True)),
    ]
    results = (
        lambda: _all_steps(call, joined[0], count, hidden),
        *(
            lambda index=index: _last_step(call, joined[index], count, hidden)
            for index in range(1, len(joined))
        ),
    )
    return [results[index]() for index in call.kept]


def _steps_apart(
    call: Call, x: Tensor, item: Direction, *, begin: tuple[Tensor, ...], make_step: MakeStep
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """(all hidden states [steps, batch, hidden], the last states): each step has operations of its own."""
    left = _inputs_by_step(call, x, item)
    step, now, made = make_step(call, item), begin, list[Tensor]()
    for data in reversed(left) if item.backward else left:
        now = step(data, now)
        made.append(now[0])
    ordered = made[::-1] if item.backward else made
    return call.add("stack", (len(made), *now[0].sizes), values=ordered, axis=0), now


def _steps_in_loop(
    call: Call, x: Tensor, item: Direction, *, begin: tuple[Tensor, ...], make_step: MakeStep
) -> tuple[Tensor, tuple[Tensor, ...]]:
    """The same as one loop, which puts each hidden state into its place."""
    steps, batch, _ = x.sizes
    left = _inputs(call, call.add("reverse", x.shape, x=x, axes=[0]) if item.backward else x, item)
    sequence = (steps, *begin[0].sizes)
    first = (constant(np.zeros(1, np.int32)), constant(np.zeros(sequence, np.float32)), *begin)
    variables = tuple(Tensor(start.shape, start.dtype) for start in first)
    inner = Call(call.node, Graph(), inputs=call.inputs, outs=call.outs, level=call.level)
    counter, made, *states = variables
    data = inner.add("gather", (1, batch, len(item.w)), x=left, indices=counter, axis=0)
    data = inner.add("squeeze", (batch, len(item.w)), x=data, axes=[0])
    now = make_step(inner, item)(data, tuple(states))
    entry = inner.add("expand_dims", (1, *now[0].sizes), x=now[0], axes=[0])
    put = inner.add("scatter", sequence, data=made, indices=counter, updates=entry, axis=0, mode="update")
    inner.graph.outputs = [Formula(inner).add(counter, 1), put, *now]
    results = tuple(Tensor(start.shape, start.dtype) for start in first)
    given = {"loop_vars": list(first), "reads": [left]}
    call.graph.operators.append(
        Loop("while_loop", given, results, steps=steps, variables=variables, body=inner.graph)
    )
    y = call.add("reverse", sequence, x=results[1], axes=[0]) if item.backward else results[1]
    return y, results[2:]


def _joined(call: Call, parts: list[Tensor], axis: int) -> Tensor:
    if len(parts) == 1:
        return parts[0]
    size = tuple(dim * len(parts) if i == axis else dim for i, dim in enumerate(parts[0].sizes))
    return call.add("concat", size, values=parts, axis=axis, interleave=False)


def _inputs(call: Call, x: Tensor, item: Direction) -> Tensor:
    """W x + bias of every step [steps, batch, gates * hidden], from one product."""
    size = (*x.sizes[:2], len(item.w))
    return call.add("linear", size, x=x, weight=constant(item.w), bias=constant(item.wb))


def _inputs_by_step(call: Call, x: Tensor, item: Direction) -> list[Tensor]:
    """The same apart, [batch, gates * hidden] each."""
    made = _inputs(call, x, item)
    steps, batch, width = made.sizes
    if steps == 1:
        return [call.add("squeeze", (batch, width), x=made, axes=[0])]
    pieces = call.add_several("split", [((1, batch, width), None)] * steps, x=made, num_splits=steps, axis=0)
    return [call.add("squeeze", (batch, width), x=piece, axes=[0]) for piece in pieces]
