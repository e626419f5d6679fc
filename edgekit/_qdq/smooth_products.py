"""Moves the reach of loud channels from what a matrix product reads into its weights (SmoothQuant).

A normalized activation of a transformer has a few channels far louder than the rest, and one int8 scale
serves them alone, while the weights, with a scale a column, have room. Channel c is divided by a factor in
the normalization's own constants and row c of the weights multiplied by it: as much is taken from the
activation as the weights take on (Xiao et al. 2022, alpha = 0.5). Factors are powers of two, so that every
product is bit for bit what it was. Who else reads the activation gets it back by one Mul.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import onnx_ir as ir

from edgekit._qdq.channel_factors import multiply, scale_constants, takes_factors
from edgekit.passes._rewire import constant_array, constant_tensor, graph_of, input_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

    from edgekit.calibration.record import ChannelRange
    from edgekit.passes._rewire import Names

    Floats = NDArray[np.float64]

_NORMS = frozenset({"LayerNormalization", "RMSNormalization"})
_MOST_BYTES = 256 << 20  # larger weights are not made anew
_LARGEST_FACTOR = 2.0**10
_WORTH = 0.9  # of the noise that is foreseen without factors
_LEVELS = 127
_PEAK_TO_RMS = 4.0  # of an activation's channel, as of a normal distribution


@dataclass(frozen=True)
class Smoothing:
    """An activation [..., C] and the MatMul and Gemm nodes whose constant weights take its factors."""

    value: ir.Value
    products: tuple[ir.Node, ...]

    @property
    def axis(self) -> int:
        """The channels' axis: the last."""
        return len(self.value.shape or ()) - 1


def list_smoothings(graph: ir.Graph) -> Iterator[Smoothing]:
    """Every such activation, in graph order."""
    for node in graph:
        value = node.outputs[0]
        if not value.shape or value.is_graph_output() or not (_is_norm(node) or _is_tail(value)):
            continue
        readers = dict.fromkeys(reader for reader, _ in value.uses())
        products = tuple(reader for reader in readers if _absorbs(reader, value))
        if products:
            yield Smoothing(value, products)


def smooth(found: Smoothing, seen: ChannelRange, names: Names) -> Floats | None:
    """Divide the activation's channels; the factors [C], or None with nothing changed.

    The divided tensor is called `<name>/equalized`; a Mul for other readers makes what the name meant before.
    """
    weights = [_rows(node) for node in found.products]
    reach = np.maximum(np.abs(seen.low), np.abs(seen.high))
    factors = _choose_factors(reach, weights)
    if factors is None:
        return None
    _divide(found.value, factors, names)
    name = str(found.value.name)
    others = [(reader, index) for reader, index in found.value.uses() if reader not in found.products]
    found.value.name = names.free(f"{name}/equalized")
    if others:
        restored = multiply(found.value, factors, names)
        restored.name = name
        for reader, index in others:
            reader.replace_input_with(index, restored)
    for node in found.products:
        _scale_rows(node, factors, names)
    return factors


def _is_norm(node: ir.Node) -> bool:
    """A normalization over the last axis, whose constants set the scale of each of its channels."""
    axis = node.attributes.get("axis")
    last = -1, len(node.outputs[0].shape or ()) - 1
    given = [value for value in (input_of(node, index) for index in (1, 2)) if value is not None]
    return (
        node.op_type in _NORMS
        and not node.domain
        and (axis is None or axis.as_int() in last)
        and all(constant_tensor(value) is not None for value in given)
    )


def _is_tail(value: ir.Value) -> bool:
    """What a normalization that is written out ends in, or any other product with a constant."""
    return value.dtype in (None, ir.DataType.FLOAT) and takes_factors(value)


def _absorbs(node: ir.Node, value: ir.Value) -> bool:
    """A MatMul or Gemm with `value` on its left side alone, and constant float weights of its own."""
    weight = input_of(node, 1)
    tensor = constant_tensor(weight)
    if node.domain or node.op_type not in ("MatMul", "Gemm") or weight is None or tensor is None:
        return False
    if [given is value for given in node.inputs] != [index == 0 for index in range(len(node.inputs))]:
        return False
    turned = node.attributes.get("transA")
    return (
        len(tensor.shape) == 2
        and tensor.dtype == ir.DataType.FLOAT
        and tensor.nbytes <= _MOST_BYTES
        and len(weight.uses()) == 1
        and (turned is None or turned.as_int() == 0)
    )


def _is_turned(node: ir.Node) -> bool:
    turned = node.attributes.get("transB")
    return turned is not None and turned.as_int() != 0


def _rows(node: ir.Node) -> NDArray[np.float32]:
    """The product's weights as [C, N]."""
    weight = constant_array(node.inputs[1])
    if weight is None:
        raise TypeError(f"the weights of {node.op_type} '{node.name}' are not constant")
    return weight.T if _is_turned(node) else weight


def _choose_factors(reach: Floats, weights: list[NDArray[np.float32]]) -> Floats | None:
    """Powers of two around 1; a silent channel keeps 1; None where int8 would gain too little by them."""
    loudest = np.max([np.abs(rows).max(axis=1, initial=0.0) for rows in weights], axis=0)
    known = (reach > 0) & (loudest > 0)
    if not known.any() or not np.isfinite(reach).all() or not np.isfinite(loudest).all():
        return None
    wanted = np.log2(np.where(known, reach, 1.0) / np.where(known, loudest, 1.0)) / 2
    steps = np.round(wanted - wanted[known].mean())
    factors: Floats = np.where(known, np.exp2(steps), 1.0).clip(1 / _LARGEST_FACTOR, _LARGEST_FACTOR)
    plain = _foresee_noise(reach, weights, np.ones_like(factors))
    return factors if _foresee_noise(reach, weights, factors) < _WORTH * plain else None


def _foresee_noise(reach: Floats, weights: list[NDArray[np.float32]], factors: Floats) -> float:
    """Up to a constant, the power in the products of what int8 rounds off the activation and the weights."""
    divided = reach / factors
    step = divided.max() / _LEVELS
    power = float(np.square(divided / _PEAK_TO_RMS).sum())
    total = 0.0
    for rows in weights:
        scaled = rows * factors[:, None].astype(np.float32)
        columns = np.abs(scaled).max(axis=0) / _LEVELS
        total += step**2 * float(np.square(scaled).sum()) + power * float(np.square(columns).sum())
    return total


def _divide(value: ir.Value, factors: Floats, names: Names) -> None:
    """Divide the last axis in the constants of what makes `value`."""
    node = value.producer()
    if node is None or not _is_norm(node):
        scale_constants(value, 1.0 / factors, names)
        return
    for index in (1, 2):
        constant = constant_array(input_of(node, index))
        if constant is not None:
            scaled = (constant / factors).astype(constant.dtype)
            name = f"{node.outputs[0].name}/constant{index}"
            node.replace_input_with(index, names.add_initializer(graph_of(node), name, scaled))


def _scale_rows(node: ir.Node, factors: Floats, names: Names) -> None:
    rows = _rows(node) * factors[:, None].astype(np.float32)
    weight = np.ascontiguousarray(rows.T if _is_turned(node) else rows)
    made = names.add_initializer(graph_of(node), f"{node.outputs[0].name}/weight", weight)
    node.replace_input_with(1, made)
