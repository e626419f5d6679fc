"""LSTM and RNN, by the equations of MIL's documentation.

`gru` has no formula: its documentation and that of its iOS 18 parameter `reset_after` contradict each other
on whether the reset gate stands before or behind the product.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported

Array = np.ndarray
_ACTIVATIONS = {
    "linear": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "tanh": np.tanh,
}


def _activation(name: str) -> Any:
    if name not in _ACTIVATIONS:
        raise Unsupported(f"its activation '{name}' has no meaning here")
    return _ACTIVATIONS[name]


def _one_way(
    x: Array, states: tuple[Array, Array], weights: tuple[Array, Array, Array], *, activations: list[Any]
) -> tuple[Array, Array, Array]:
    """Every step's hidden state [s, b, H], the last one and the last cell; gates are i, f, o, z."""
    h, c = states
    weight_ih, weight_hh, bias = weights
    hidden = weight_hh.shape[1]
    gate, cell, out = activations
    made = []
    for step in x:
        gates = step @ weight_ih.T + h @ weight_hh.T + bias
        i, f, o = (gate(gates[:, place * hidden : (place + 1) * hidden]) for place in range(3))
        c = f * c + i * cell(gates[:, 3 * hidden :])
        h = o * out(c)
        made.append(h)
    return np.stack(made), h, c


def _lstm(  # noqa: PLR0913, PLR0917 - MIL's signature
    x: Array,
    initial_h: Array,
    initial_c: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    weight_ih_back: Array | None = None,
    weight_hh_back: Array | None = None,
    bias_back: Array | None = None,
    *,
    direction: str = "forward",
    output_sequence: bool = False,
    recurrent_activation: str = "sigmoid",
    cell_activation: str = "tanh",
    activation: str = "tanh",
) -> tuple[Array, Array, Array]:
    """x [s, b, I] -> (hidden states [s or 1, b, H], last hidden, last cell); both directions side by side.

    How `reverse` alone orders its sequence is not documented; bidirectional outputs follow the input's order.
    """
    if direction not in ("forward", "bidirectional"):
        raise Unsupported(f"the order of a sequence in direction '{direction}' is not documented")
    activations = [_activation(name) for name in (recurrent_activation, cell_activation, activation)]
    hidden = weight_hh.shape[1]
    none = np.zeros(4 * hidden, np.float32)
    forward = (weight_ih, weight_hh, none if bias is None else bias)
    starts = initial_h[:, :hidden], initial_c[:, :hidden]
    parts = [_one_way(x, starts, forward, activations=activations)]
    if direction == "bidirectional":
        if weight_ih_back is None or weight_hh_back is None:
            raise ValueError("a bidirectional lstm lacks its backward weights")
        backward = (weight_ih_back, weight_hh_back, none if bias_back is None else bias_back)
        starts = initial_h[:, hidden:], initial_c[:, hidden:]
        y, h, c = _one_way(x[::-1], starts, backward, activations=activations)
        parts.append((y[::-1], h, c))
    y, h, c = (np.concatenate(items, -1) for items in zip(*parts, strict=True))
    return (y if output_sequence else h[None]), h, c


def _rnn(  # noqa: PLR0913 - MIL's signature
    x: Array,
    initial_h: Array,
    weight_ih: Array,
    weight_hh: Array,
    bias: Array | None = None,
    *,
    direction: str = "forward",
    output_sequence: bool = False,
    activation: str = "tanh",
) -> tuple[Array, Array]:
    """h = activation(W_ih x + b + W_hh h): (hidden states [s or 1, b, H], the last one)."""
    if direction != "forward":
        raise Unsupported(f"the order of a sequence in direction '{direction}' is not documented")
    act, h, made = _activation(activation), initial_h, []
    for step in x:
        h = act(step @ weight_ih.T + h @ weight_hh.T + (0 if bias is None else bias))
        made.append(h)
    return (np.stack(made) if output_sequence else h[None]), h


COMPUTES: dict[str, Any] = {"lstm": _lstm, "rnn": _rnn}
