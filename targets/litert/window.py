"""Sliding windows of convolutions and pools: explicit paddings, and LiteRT's SAME where it is the same."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from edgekit.targets.litert.graph import ROUNDED, Tensor, constant

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.litert.call import Call


@dataclass(frozen=True)
class Window:
    """One entry a spatial dim; pads are (begin, end) pairs."""

    kernel: tuple[int, ...]
    strides: tuple[int, ...]
    dilations: tuple[int, ...]
    pads: tuple[tuple[int, int], ...]

    @property
    def extents(self) -> tuple[int, ...]:
        """What the kernel spans, dilation included."""
        return tuple((k - 1) * d + 1 for k, d in zip(self.kernel, self.dilations, strict=True))

    @property
    def is_padded(self) -> bool:
        return any(low or high for low, high in self.pads)

    def part(self, begin: int, end: int) -> Window:
        """The window over some of the spatial dims."""
        cut = slice(begin, end)
        return Window(self.kernel[cut], self.strides[cut], self.dilations[cut], self.pads[cut])

    def beside_one(self) -> Window:
        """The same 1-D window over rows, one column wide."""
        return Window((*self.kernel, 1), (*self.strides, 1), (*self.dilations, 1), (*self.pads, (0, 0)))

    def widened(self) -> Window:
        """The same window over rows of height 1: 1-D work is done by 2-D operators."""
        return Window((1, *self.kernel), (1, *self.strides), (1, *self.dilations), ((0, 0), *self.pads))


def read_window(call: Call, kernel: Sequence[int], sizes: Sequence[int], out: Sequence[int]) -> Window:
    """From the node's attributes; end pads also cover what ceil_mode reaches beyond the given ones."""
    count = len(kernel)
    window = Window(
        tuple(kernel),
        tuple(call.ints("strides", [1] * count)),
        tuple(call.ints("dilations", [1] * count)),
        ((0, 0),) * count,
    )
    auto = call.text("auto_pad", "NOTSET")
    if auto == "NOTSET":
        flat = call.ints("pads", [0] * (2 * count))
        pads = [(flat[i], flat[count + i]) for i in range(count)]
    else:
        totals = [
            max(0, (o - 1) * s + e - n) if auto != "VALID" else 0
            for o, s, e, n in zip(out, window.strides, window.extents, sizes, strict=True)
        ]
        pads = [(t // 2, t - t // 2) if auto == "SAME_UPPER" else (t - t // 2, t // 2) for t in totals]
    call.require(all(low >= 0 and high >= 0 for low, high in pads), "negative pads have no LiteRT form")
    reach = [(o - 1) * s + e for o, s, e in zip(out, window.strides, window.extents, strict=True)]
    ends = [(low, max(high, r - n - low)) for (low, high), r, n in zip(pads, reach, sizes, strict=True)]
    return replace(window, pads=tuple(ends))


def is_same(window: Window, sizes: Sequence[int]) -> bool:
    """Whether LiteRT's SAME pads just like this."""
    for size, stride, extent, pads in zip(sizes, window.strides, window.extents, window.pads, strict=True):
        total = max(0, (-(-size // stride) - 1) * stride + extent - size)
        if pads != (total // 2, total - total // 2):
            return False
    return True


def pad_spatial(call: Call, x: Tensor, window: Window, *, value: float = 0.0) -> Tensor:
    """`x` (channels last) with its spatial dims padded by `value`, at x's own scale."""
    table = [(0, 0), *window.pads, (0, 0)]
    shape = [size + low + high for size, (low, high) in zip(x.shape, table, strict=True)]
    paddings = constant(np.array(table, np.int32))
    if value == 0.0:
        return call.add("PAD", [x, paddings], shape)
    lowest = np.iinfo(x.dtype).min if x.dtype in ROUNDED else value
    fill = constant(np.asarray(lowest, x.dtype), x.quant)
    return call.add("PADV2", [x, paddings, fill], shape)


def settle_padding(call: Call, x: Tensor, window: Window) -> tuple[Tensor, str]:
    """(data, padding): SAME or VALID as they are, else zeros written around the data, then VALID."""
    if not window.is_padded:
        return x, "VALID"
    if is_same(window, x.shape[1:-1]):
        return x, "SAME"
    return pad_spatial(call, x, window), "VALID"
