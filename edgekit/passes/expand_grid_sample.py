"""GridSample -> Gather of each neighbour and a weighted sum, for known shapes and any run-time grid."""

from __future__ import annotations

from itertools import product
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import onnx_ir as ir

from edgekit.passes._rewire import Names, graph_of, static_shape, take_over

if TYPE_CHECKING:
    from collections.abc import Sequence

_MODES = {"bilinear": "linear", "bicubic": "cubic"}  # opset 16 -> opset 20
_CUBIC = -0.75  # the coefficient that ONNX fixes
_PADDINGS = ("zeros", "border", "reflection")


class _Tap(NamedTuple):
    """One neighbour along one axis: its place (int32) and weight, [batch, points]; None is a weight of 1."""

    place: ir.Value
    weight: ir.Value | None


def expand_grid_sample(node: ir.Node, names: Names) -> bool:
    """Write GridSample out in 2-D or 3-D; False, with nothing changed, where a shape or mode is not known."""
    source, grid = node.inputs[0], node.inputs[1]
    shape, points = static_shape(source), static_shape(grid)
    if shape is None or points is None or grid is None or grid.dtype != ir.DataType.FLOAT:
        return False
    sampler = _Sampler(node, names)
    known = sampler.mode in ("nearest", "linear") or (sampler.mode == "cubic" and len(shape) == 4)
    if not known or sampler.padding not in _PADDINGS or len(shape) not in (4, 5):
        return False
    take_over(sampler.build(shape, points), node.outputs[0])
    return True


class _Sampler:
    def __init__(self, node: ir.Node, names: Names) -> None:
        self.node, self.names = node, names
        mode = _text(node, "mode", "linear")
        self.mode = _MODES.get(mode, mode)
        self.padding = _text(node, "padding_mode", "zeros")
        aligned = node.attributes.get("align_corners")
        self.aligned = aligned is not None and aligned.as_int() != 0

    def build(self, shape: Sequence[int], points: Sequence[int]) -> ir.Value:
        """[batch, channels, *points]; data [batch, channels, *spatial], grid [batch, *points, axes]."""
        source, grid = self.node.inputs
        assert source is not None
        assert grid is not None
        (batch, channels, *sizes), rank = shape, len(shape)
        count = int(np.prod(points[1:-1]))
        flat = self._reshape(grid, [batch, count, len(sizes)])
        taps = [self._taps(flat, axis, sizes) for axis in range(len(sizes))]
        rows = self._reshape(self._transpose(source, [0, *range(2, rank), 1]), [-1, channels])
        start = np.arange(batch)[:, None] * int(np.prod(sizes))
        total: ir.Value | None = None
        for chosen in product(*taps):
            value = self._neighbour(rows, chosen, sizes, start)
            total = value if total is None else self._add("Add", total, value)
        assert total is not None
        return self._transpose(
            self._reshape(total, [batch, *points[1:-1], channels]), [0, rank - 1, *range(1, rank - 1)]
        )

    def _neighbour(
        self, rows: ir.Value, taps: Sequence[_Tap], sizes: Sequence[int], start: np.ndarray
    ) -> ir.Value:
        """[batch, points, channels]: the data at these taps, times their weights."""
        place = self._int(start)
        weight: ir.Value | None = None
        for axis, tap in enumerate(taps):
            stride = self._int(np.array(int(np.prod(sizes[axis + 1 :]))))
            place = self._add("Add", place, self._add("Mul", tap.place, stride))
            if tap.weight is not None:
                weight = tap.weight if weight is None else self._add("Mul", weight, tap.weight)
        value = self._add("Gather", rows, place)
        if weight is None:
            return value
        return self._add("Mul", value, self._add("Unsqueeze", weight, self._constant(np.array([-1]))))

    def _taps(self, grid: ir.Value, axis: int, sizes: Sequence[int]) -> list[_Tap]:
        """The neighbours along one axis; the grid's last dim names the axes from the last to the first."""
        size = sizes[axis]
        index = self._constant(np.array(len(sizes) - 1 - axis))
        given = self.names.insert_before(self.node, "Gather", [grid, index], axis=2)
        at = self._position(given, size)
        if self.mode == "nearest":
            return [self._tap(self._add("Round", at), None, size)]
        low = self._add("Floor", at)
        part = self._add("Sub", at, low)
        offsets = (0, 1) if self.mode == "linear" else (-1, 0, 1, 2)
        return [
            self._tap(self._add("Add", low, self._float(offset)), self._weight(part, offset), size)
            for offset in offsets
        ]

    def _position(self, given: ir.Value, size: int) -> ir.Value:
        """-1..1 spans the outer pixels' centres (aligned) or edges; rounded as ONNX Runtime does."""
        above = self._add("Add", given, self._float(1))
        if self.aligned:
            return self._add("Mul", self._add("Mul", above, self._float(0.5)), self._float(size - 1))
        spread = self._add("Mul", above, self._float(size))
        return self._add("Mul", self._add("Sub", spread, self._float(1)), self._float(0.5))

    def _weight(self, part: ir.Value, offset: int) -> ir.Value:
        """The weight of the neighbour `offset` behind the floor, `part` being the rest."""
        distance = self._add("Abs", self._add("Sub", part, self._float(offset)))
        if self.mode == "linear":
            return self._add("Sub", self._float(1), distance)
        a = _CUBIC
        near = (a + 2, -(a + 3), 0, 1)
        far = (a, -5 * a, 8 * a, -4 * a)
        return self._polynomial(distance, near if offset in (0, 1) else far)

    def _polynomial(self, x: ir.Value, factors: Sequence[float]) -> ir.Value:
        """Horner's rule, the highest power first."""
        made = self._float(factors[0])
        for factor in factors[1:]:
            made = self._add("Add", self._add("Mul", made, x), self._float(factor))
        return made

    def _tap(self, place: ir.Value, weight: ir.Value | None, size: int) -> _Tap:
        """The place brought inside; for padding by zeros its weight is 0 outside."""
        last = self._float(size - 1)
        if self.padding == "reflection":
            place = self._reflected(place, size)
        inside = self._add("Clip", place, self._float(0), last)
        if self.padding == "zeros":
            same = self.names.insert_before(
                self.node, "Cast", [self._add("Equal", inside, place)], to=int(ir.DataType.FLOAT)
            )
            weight = same if weight is None else self._add("Mul", weight, same)
        return _Tap(self.names.insert_before(self.node, "Cast", [inside], to=int(ir.DataType.INT32)), weight)

    def _reflected(self, place: ir.Value, size: int) -> ir.Value:
        """Whole places mirrored at the outer pixels' centres (aligned) or edges."""
        period, shift = (max(2 * size - 2, 1), 0) if self.aligned else (2 * size, 1)
        rounds = self._add("Floor", self._add("Div", place, self._float(period)))
        once = self._add("Sub", place, self._add("Mul", rounds, self._float(period)))
        return self._add("Min", once, self._add("Sub", self._float(period - shift), once))

    def _reshape(self, value: ir.Value, shape: Sequence[int]) -> ir.Value:
        return self._add("Reshape", value, self._constant(np.array(shape)))

    def _transpose(self, value: ir.Value, order: Sequence[int]) -> ir.Value:
        return self.names.insert_before(self.node, "Transpose", [value], perm=list(order))

    def _add(self, op: str, *inputs: ir.Value) -> ir.Value:
        return self.names.insert_before(self.node, op, inputs)

    def _float(self, value: float) -> ir.Value:
        return self._constant(np.array(value, np.float32))

    def _int(self, values: np.ndarray) -> ir.Value:
        return self._constant(values.astype(np.int32))

    def _constant(self, values: np.ndarray) -> ir.Value:
        name = f"{self.node.outputs[0].name}/constant"
        return self.names.add_initializer(graph_of(self.node), name, values)


def _text(node: ir.Node, name: str, default: str) -> str:
    attribute = node.attributes.get(name)
    return default if attribute is None else attribute.as_string()
