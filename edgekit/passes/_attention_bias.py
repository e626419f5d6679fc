"""What an Attention node adds to its scores: causal, window, padding and given masks, as one bias."""

from __future__ import annotations

from dataclasses import dataclass
from functools import reduce
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, constant_array, graph_of, input_of, static_shape

if TYPE_CHECKING:
    from numpy.typing import NDArray

_MASK, _PAST, _LENGTHS = 3, 4, 6  # inputs of Attention


@dataclass(frozen=True)
class Bias:
    """`bias` broadcasts to the scores; `alive` is False for queries that see no key. None: not needed."""

    bias: ir.Value | None
    alive: ir.Value | None


class BiasBuilder:
    """Puts the nodes of the bias in front of one Attention node with `queries` and `keys` positions."""

    def __init__(self, node: ir.Node, names: Names, queries: int, keys: int) -> None:
        self.node, self.names = node, names
        self.queries, self.keys = queries, keys
        dtype = node.inputs[0].dtype if node.inputs[0] is not None else None
        assert dtype is not None
        self.dtype: Any = dtype.numpy()
        self.lowest = float(dtype.min)
        # How far key j lies behind query i, were there no earlier keys.
        self.distance = np.arange(keys)[None, :] - np.arange(queries)[:, None]

    def build(self) -> Bias:
        """All masks combined; those that are constant are computed here.

        By Where, never by sums or maxima: some kernels hold those within the finite numbers.
        """
        fixed, mask, conditions = self._fixed(), self._given(), self._by_length()
        if mask is None and not conditions:
            return self._constant_bias(fixed)
        seen: list[ir.Value] = []
        if mask is None:
            base = self._constant("fixed", fixed if fixed.any() else self._number(0))
        elif mask.dtype == ir.DataType.BOOL:
            base = self._constant("zero", self._number(0))
            conditions.append(mask)
        else:
            base = mask
            seen.append(
                self._add("GreaterOrEqual", mask, self._constant("lowest", self._number(self.lowest)))
            )
        if fixed.any():
            allowed = self._constant("allowed", fixed > -np.inf)
            (seen if mask is None else conditions).append(allowed)
        if conditions:
            never = self._constant("never", self._number(-np.inf))
            base = self._add("Where", self._all(conditions), base, never)
        return Bias(base, self._alive(self._all([*seen, *conditions])))

    def _all(self, conditions: list[ir.Value]) -> ir.Value:
        return reduce(lambda a, b: self._add("And", a, b), conditions)

    def _constant_bias(self, fixed: NDArray[Any]) -> Bias:
        if not fixed.any():
            return Bias(None, None)
        seen = np.asarray((fixed > -np.inf).any(-1, keepdims=True))
        alive = None if seen.all() else self._constant("alive", seen)
        return Bias(self._constant("fixed", fixed), alive)

    def _fixed(self) -> NDArray[Any]:
        """The constant part: causal and window masks without run-time lengths, and a constant mask."""
        allowed = np.ones((self.queries, self.keys), bool)
        if input_of(self.node, _LENGTHS) is None:
            past = static_shape(input_of(self.node, _PAST))
            offset = past[2] if past is not None else 0
            for low, high in self._windows():
                allowed &= (self.distance >= offset - low) & (self.distance <= offset + high)
        bias = np.where(allowed, self._number(0), self._number(-np.inf))
        mask = constant_array(input_of(self.node, _MASK))
        if mask is None:
            return bias
        if mask.dtype == bool:
            mask = np.where(mask, self._number(0), self._number(-np.inf))
        missing = [(0, 0)] * (mask.ndim - 1) + [(0, self._missing(mask.shape[-1]))]
        return np.asarray(bias + np.pad(mask, missing, constant_values=-np.inf))

    def _windows(self) -> list[tuple[float, float]]:
        """(keys before, keys behind) the query's own position that may be seen."""
        attributes = self.node.attributes
        left, right, causal = (
            attributes[name].as_int() if name in attributes else default
            for name, default in (("left_window_size", -1), ("right_window_size", -1), ("is_causal", 0))
        )
        limits = [(left if left >= 0 else np.inf, right if right >= 0 else np.inf)]
        return limits + ([(np.inf, 0.0)] if causal else [])

    def _by_length(self) -> list[ir.Value]:
        """Conditions [batch, 1, queries or 1, keys] on the run-time lengths: padding, causal, windows."""
        lengths = input_of(self.node, _LENGTHS)
        if lengths is None:
            return []
        shape = self._constant("lengths_shape", np.array([-1, 1, 1, 1], np.int64))
        lengths = self._add("Reshape", lengths, shape)
        # Position p of query i is length - queries + i, so j - p = (j - i + queries) - length.
        behind = (self.distance + self.queries)[None, None].astype(np.int64)
        keys = np.arange(self.keys, dtype=np.int64)[None, None, None]
        found = [self._add("Less", self._constant("key", keys), lengths)]
        for low, high in self._windows():
            if np.isfinite(low):
                found.append(self._add("GreaterOrEqual", self._constant("left", behind + int(low)), lengths))
            if np.isfinite(high):
                found.append(self._add("LessOrEqual", self._constant("right", behind - int(high)), lengths))
        return found

    def _given(self) -> ir.Value | None:
        """The mask that is computed at run time, over all keys."""
        mask = input_of(self.node, _MASK)
        if mask is None or constant_array(mask) is not None:
            return None
        shape = static_shape(mask)
        assert shape is not None
        missing = self._missing(shape[-1])
        if not missing:
            return mask
        beyond = np.array(False) if mask.dtype == ir.DataType.BOOL else self._number(-np.inf)
        rest = self._constant("beyond", np.broadcast_to(beyond, (*shape[:-1], missing)).copy())
        return self.names.insert_before(self.node, "Concat", [mask, rest], axis=-1)

    def _missing(self, size: int) -> int:
        return 0 if size == 1 else self.keys - size

    def _alive(self, seen: ir.Value) -> ir.Value:
        """Whether any key is seen."""
        axes = self._constant("axes", np.array([-1], np.int64))
        dtype = ir.DataType.from_numpy(np.dtype(self.dtype))
        ones = self.names.insert_before(self.node, "Cast", [seen], to=int(dtype))
        top = self.names.insert_before(self.node, "ReduceMax", [ones, axes], keepdims=1)
        return self._add("Greater", top, self._constant("none", self._number(0)))

    def _number(self, value: float) -> NDArray[np.generic]:
        return np.array(value, self.dtype)

    def _constant(self, name: str, array: NDArray[np.generic]) -> ir.Value:
        graph = graph_of(self.node)
        return self.names.add_initializer(graph, f"{self.node.outputs[0].name}/{name}", np.asarray(array))

    def _add(self, op: str, *inputs: ir.Value) -> ir.Value:
        return self.names.insert_before(self.node, op, inputs)
