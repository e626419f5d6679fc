"""Where a window (convolution, pooling) stands: strides, dilations and pads, auto_pad resolved."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgekit._lowering import Refused

if TYPE_CHECKING:
    from collections.abc import Sequence

    from edgekit.targets.coreml.call import Call


class Window:
    """The window attributes of one node; `sizes` are its kernel's spatial sizes.

    `pads` are ONNX's: all begins, then all ends.
    """

    def __init__(self, call: Call, sizes: Sequence[int], *, transposed: bool = False) -> None:
        self.call = call
        self.sizes = [int(size) for size in sizes]
        count = len(self.sizes)
        call.require(
            1 <= count <= 3 and count == call.x.rank - 2,
            f"it has {call.x.rank - 2} spatial dims, and Core ML's windows have one to three",
        )
        self.strides = call.ints("strides", [1] * count)
        self.dilations = call.ints("dilations", [1] * count)
        self.reach = [(size - 1) * step + 1 for size, step in zip(self.sizes, self.dilations, strict=True)]
        self.auto = call.text("auto_pad", "NOTSET")
        self.pads = [0] * (2 * count) if transposed else self._pads()

    def _pads(self) -> list[int]:
        """ONNX's formula: SAME gives ceil(size / stride) results, the odd one at the end (or begin)."""
        if self.auto == "NOTSET":
            pads = self.call.ints("pads", [0] * (2 * len(self.sizes)))
            self.call.require(min(pads, default=0) >= 0, "it has negative pads", "slice before the node")
            return pads
        if self.auto == "VALID":
            return [0] * (2 * len(self.sizes))
        self._require_same(self.auto)
        begins, ends = [], []
        for size, stride, reach in zip(self.call.x.sizes[2:], self.strides, self.reach, strict=True):
            total = max((-(-size // stride) - 1) * stride + reach - size, 0)
            small, large = total // 2, total - total // 2
            begins.append(large if self.auto == "SAME_LOWER" else small)
            ends.append(small if self.auto == "SAME_LOWER" else large)
        return begins + ends

    def _require_same(self, auto: str) -> None:
        if auto not in ("SAME_UPPER", "SAME_LOWER"):
            raise Refused(f"auto_pad '{auto}' is none of ONNX's")

    def interleaved_pads(self) -> list[int]:
        """MIL's order: begin and end of each dim."""
        count = len(self.sizes)
        return [self.pads[i + side * count] for i in range(count) for side in (0, 1)]

    def pads_of_result(self) -> list[int]:
        """What is cut off a transposed convolution's full result, in MIL's order; negative: it is padded."""
        call, count = self.call, len(self.sizes)
        extra = call.ints("output_padding", [0] * count)
        if self.auto in ("NOTSET", "VALID") and not call.given("output_shape"):
            pads = call.ints("pads", [0] * (2 * count)) if self.auto == "NOTSET" else [0] * (2 * count)
            return [item for i in range(count) for item in (pads[i], pads[i + count] - extra[i])]
        if self.auto != "NOTSET":
            self._require_same(self.auto)
        found: list[int] = []
        full = [
            (size - 1) * stride + reach
            for size, stride, reach in zip(call.x.sizes[2:], self.strides, self.reach, strict=True)
        ]
        for length, want, over in zip(full, call.out.sizes[2:], extra, strict=True):
            total = length + over - want
            # A result larger than the windows reach goes on behind them.
            cut = max(total, 0)
            first = cut // 2 if self.auto == "SAME_UPPER" else cut - cut // 2
            found += [first, length - want - first]
        return found
