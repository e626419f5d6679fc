"""Whole-number arithmetic on places: done while building where all operands are constant, else in int32."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.litert.graph import Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Callable

    from edgekit.targets.litert.call import Call

    Operand = Tensor | Any  # numbers and arrays become int32 constants

_NUMPY: dict[str, Callable[[Any, Any], Any]] = {
    "ADD": np.add,
    "SUB": np.subtract,
    "MUL": np.multiply,
    "FLOOR_MOD": np.mod,
    "MINIMUM": np.minimum,
    "MAXIMUM": np.maximum,
    "LESS": np.less,
    "EQUAL": np.equal,
    "GREATER_EQUAL": np.greater_equal,
    "LOGICAL_AND": np.logical_and,
}
_FLAGS = frozenset(("LESS", "EQUAL", "GREATER_EQUAL", "LOGICAL_AND"))


class Places:
    """Shapes broadcast."""

    def __init__(self, call: Call) -> None:
        self.call = call

    def whole(self, value: Operand) -> Tensor:
        """int32 of any whole numbers; booleans stay."""
        if isinstance(value, Tensor):
            return value if value.dtype == "bool" else self.call.cast(value, "int32")
        array = np.asarray(value)
        return constant(array if array.dtype == bool else array.astype(np.int32))

    def _binary(self, code: str, a: Operand, b: Operand) -> Tensor:
        left, right = self.whole(a), self.whole(b)
        if left.data is not None and right.data is not None:
            return constant(np.asarray(_NUMPY[code](left.data, right.data)))
        shape = np.broadcast_shapes(left.shape, right.shape)
        like = Tensor(shape, "bool" if code in _FLAGS else "int32")
        return self.call.add(code, [left, right], shape, like=like)

    def add(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("ADD", a, b)

    def sub(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("SUB", a, b)

    def mul(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MUL", a, b)

    def mod(self, a: Operand, b: Operand) -> Tensor:
        """With the sign of `b`."""
        return self._binary("FLOOR_MOD", a, b)

    def minimum(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MINIMUM", a, b)

    def maximum(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("MAXIMUM", a, b)

    def less(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("LESS", a, b)

    def equal(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("EQUAL", a, b)

    def at_least(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("GREATER_EQUAL", a, b)

    def both(self, a: Operand, b: Operand) -> Tensor:
        return self._binary("LOGICAL_AND", a, b)

    def wrapped(self, places: Tensor, size: Operand) -> Tensor:
        """Negative places count from the end of `size` entries."""
        whole = self.whole(places)
        below = self.whole_flags(self.less(whole, 0))
        return self.add(whole, self.mul(below, size))

    def whole_flags(self, flags: Tensor) -> Tensor:
        """1 for True, 0 for False."""
        return self.call.cast(flags, "int32")

    def total(self, x: Tensor, axis: int) -> Tensor:
        """Sum along one axis, which goes."""
        if x.data is not None:
            return constant(np.asarray(x.data.sum(axis), np.int32))
        shape = [size for i, size in enumerate(x.shape) if i != axis]
        return self.call.add("SUM", [x, constant(np.array([axis], np.int32))], shape, keepDims=False)
