"""Where an int8 layer's weights meet its data: rows of weights, and the vectors that they multiply."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from edgekit._qdq.weights import channel_axis

if TYPE_CHECKING:
    import onnx_ir as ir
    from numpy.typing import NDArray

    Floats = NDArray[np.float32]

_GOLDEN = (
    math.sqrt(5) - 1
) / 2  # its multiples, less their whole parts, spread evenly however many there are


@dataclass(frozen=True)
class Window:
    """A convolution's reach along its spatial axes. pads: (begin, end) of each axis, or how to find them."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...] | str

    def pad(self, sizes: tuple[int, ...]) -> tuple[tuple[int, int], ...]:
        """Zeros in front of and behind each axis of an input with these sizes (ONNX: Conv, auto_pad)."""
        if not isinstance(self.pads, str):
            return self.pads
        if self.pads == "VALID":
            return ((0, 0),) * len(sizes)
        found = []
        for size, stride, reach in zip(sizes, self.strides, self.reach, strict=True):
            total = max((math.ceil(size / stride) - 1) * stride + reach - size, 0)
            less, more = total // 2, total - total // 2
            found.append((less, more) if self.pads == "SAME_UPPER" else (more, less))
        return tuple(found)

    @property
    def reach(self) -> tuple[int, ...]:
        """Elements from the first to the last that a window reads along each axis."""
        return tuple((size - 1) * step + 1 for size, step in zip(self.kernel, self.dilations, strict=True))


@dataclass(frozen=True)
class Layer:
    """One node, its weight as rows [groups, N, K] of the K numbers that an output sums over.

    data: the tensor in front of it. axis: the weight's axis of output channels. window: None for a matrix.
    """

    node: str
    op: str
    data: str
    groups: int
    axis: int
    columns: int
    window: Window | None

    def rows(self, weight: NDArray[np.generic]) -> NDArray[np.generic]:
        """[groups, N, K] of an array of the weight's own shape."""
        turned = np.moveaxis(weight, self.axis, 0)
        return turned.reshape(self.groups, -1, self.columns)

    def like(self, rows: NDArray[np.generic], shape: tuple[int, ...]) -> NDArray[np.generic]:
        """`rows` in the weight's own shape again."""
        channels = shape[self.axis]
        others = [size for index, size in enumerate(shape) if index != self.axis]
        return np.ascontiguousarray(np.moveaxis(rows.reshape(channels, *others), 0, self.axis))

    def vectors(self, data: Floats, most: int, turn: int) -> Floats:
        """[groups, P, K]: what an output's weights are multiplied with, at `most` places or at all of them.

        The places are spread over the data, and others for each `turn`.
        """
        if self.window is None:
            vectors = data.reshape(-1, data.shape[-1])
            return vectors[pick_places(len(vectors), most, turn)][None]
        rank = len(self.window.kernel)
        sizes = data.shape[2:]
        padded = np.pad(data, ((0, 0), (0, 0), *self.window.pad(sizes)))
        view = sliding_window_view(padded, self.window.reach, axis=tuple(range(2, 2 + rank)))
        steps = [slice(None, None, step) for step in (1, 1, *self.window.strides, *self.window.dilations)]
        view = view[tuple(steps)]
        places = view.shape[2 : 2 + rank]
        picked = pick_places(math.prod(places), max(1, most // len(data)), turn)
        at: list[Any] = [slice(None), slice(None), *np.unravel_index(picked, places)]
        taken = view[tuple(at)]
        taken = np.moveaxis(taken, 2, 1).reshape(-1, self.groups, self.columns)  # from [B, P, C, kernel]
        return np.ascontiguousarray(taken.transpose(1, 0, 2))


def pick_places(count: int, most: int, turn: int) -> NDArray[np.intp]:
    """Up to `most` of `count` places in rising order, evenly spread without a period."""
    if count <= most:
        return np.arange(count)
    spread = (np.arange(turn * most, (turn + 1) * most) * _GOLDEN) % 1
    return np.unique((spread * count).astype(np.intp))


def describe_layer(node: ir.Node, shape: tuple[int, ...]) -> Layer | str:
    """The layer of an int8 node with a weight of this shape, or in words why its rounding is not chosen."""
    if node.op_type == "ConvTranspose":
        return "outputs of a transposed convolution share its weights unevenly"
    axis = channel_axis(node)
    if axis is None:
        return "its weight is no matrix"
    data = node.inputs[0]
    if data is None or data.name is None or data.is_initializer():
        return "its data are no tensor that the samples change"
    groups, window = 1, None
    if node.op_type == "Conv":
        groups, window = node.attributes.get_int("group", 1), _read_window(node, shape[2:])
    columns = math.prod(shape) // shape[axis]
    return Layer(str(node.name), node.op_type, data.name, groups, axis, columns, window)


def _read_window(node: ir.Node, kernel: tuple[int, ...]) -> Window:
    rank = len(kernel)
    ones = [1] * rank
    strides, dilations = (node.attributes.get_ints(name, ones) for name in ("strides", "dilations"))
    pads = node.attributes.get_ints("pads", [0] * 2 * rank)
    auto = node.attributes.get_string("auto_pad", "NOTSET")
    explicit = tuple(zip(pads[:rank], pads[rank:], strict=True))
    return Window(kernel, tuple(strides), tuple(dilations), explicit if auto == "NOTSET" else auto)
