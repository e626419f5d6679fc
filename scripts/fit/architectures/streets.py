"""Street segmenters of two and three branches (DDRNet, PIDNet), from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scripts.fit.architectures.blocks import block, conv, grow, normalized, normed, simple
from scripts.fit.architectures.ffnet import CLASSES, STREET, Residual, stage

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


def before(inputs: int, outputs: int, kernel: int, group: int = 1) -> nn.Sequential:
    """Batch norm and activation before the convolution."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, outputs, kernel, 1, group))


class Pyramid(nn.Module):
    """Pooled at four scales and whole; `chained`: each goes through its own 3x3 after the last one."""

    def __init__(self, inputs: int, width: int, outputs: int, *, chained: bool) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(size, size // 2, size // 2) for size in (5, 9, 17)]
        self.pools = nn.ModuleList([*pools, nn.AdaptiveAvgPool2d(1)])
        self.scales = nn.ModuleList(before(inputs, width, 1) for _ in range(5))
        self.chained = chained
        count, group = (4, 1) if chained else (1, 4)
        self.process = nn.ModuleList(before(width * group, width * group, 3, group) for _ in range(count))
        self.compress, self.short = before(5 * width, outputs, 1), before(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same size, `outputs` channels."""
        whole = self.scales[0](x)
        pooled = [grow(scale(pool(x)), x) for pool, scale in zip(self.pools, self.scales[1:], strict=True)]
        made = [whole]
        if self.chained:
            for one, layer in zip(pooled, self.process, strict=True):
                made.append(layer(one + made[-1]))
        else:
            made.append(self.process[0](torch.cat([one + whole for one in pooled], 1)))
        return self.compress(torch.cat(made, 1)) + self.short(x)


def head(inputs: int, middle: int) -> nn.Sequential:
    """Segmentation head: 3x3 to `middle`, 1x1 to classes."""
    return nn.Sequential(
        before(inputs, middle, 3), nn.BatchNorm2d(middle), nn.ReLU(), nn.Conv2d(middle, CLASSES, 1)
    )


def trunk(w: int) -> nn.Sequential:
    """What the branches share: [1, 3, h, w] -> [1, 2 w, h / 8, w / 8]."""
    stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1), nn.BatchNorm2d(w), nn.ReLU(), block(w, w, 3, 2))
    return nn.Sequential(stem, stage(w, w, 2, last=False), nn.ReLU(), stage(w, 2 * w, 2, 2, last=False))


class Ddrnet(nn.Module):
    """DDRNet-23-slim: two branches of two resolutions that feed each other."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w, high = width, 2 * width
        self.trunk = trunk(w)
        self.low3, self.low4 = stage(2 * w, 4 * w, 2, 2, last=False), stage(4 * w, 8 * w, 2, 2, last=False)
        self.low5 = Residual(8 * w, 8 * w, 2, wide=True, last=False)
        self.high3, self.high4 = stage(high, high, 2, last=False), stage(high, high, 2, last=False)
        self.high5 = Residual(high, high, wide=True, last=False)
        self.up3, self.up4 = normed(4 * w, high, 1), normed(8 * w, high, 1)
        self.down3 = normed(high, 4 * w, 3, 2)
        self.down4 = nn.Sequential(block(high, 4 * w, 3, 2), normed(4 * w, 8 * w, 3, 2))
        self.pyramid, self.head = Pyramid(16 * w, 128, 4 * w, chained=True), head(4 * w, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 8, w / 8]."""
        eighth = torch.relu(self.trunk(x))
        low, fine = self.low3(eighth), self.high3(eighth)
        both = low + self.down3(torch.relu(fine))
        fine = fine + grow(self.up3(torch.relu(low)), fine)
        low, fine = self.low4(torch.relu(both)), self.high4(torch.relu(fine))
        both = low + self.down4(torch.relu(fine))
        fine = fine + grow(self.up4(torch.relu(low)), fine)
        fine = self.high5(torch.relu(fine))
        return self.head(fine + grow(self.pyramid(self.low5(torch.relu(both))), fine))


class Guided(nn.Module):
    """Pixels of `y` taken into `x` where the two agree."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.of_x, self.of_y = normed(inputs, width, 1), normed(inputs, width, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The size of `x`."""
        agree = torch.sigmoid((self.of_x(x) * grow(self.of_y(y), x)).sum(1, keepdim=True))
        return (1 - agree) * x + agree * grow(y, x)


class Pidnet(nn.Module):
    """PIDNet-S: branches for detail, context and boundaries."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w, high = width, 2 * width
        self.trunk = trunk(w)
        self.low3, self.low4 = stage(2 * w, 4 * w, 3, 2, last=False), stage(4 * w, 8 * w, 3, 2, last=False)
        self.low5 = nn.Sequential(
            Residual(8 * w, 8 * w, 2, wide=True), Residual(16 * w, 8 * w, wide=True, last=False)
        )
        self.fine3, self.fine4 = stage(high, high, 2, last=False), stage(high, high, 2, last=False)
        self.fine5 = Residual(high, high, wide=True, last=False)
        self.edge3, self.edge4 = Residual(high, w, last=False), Residual(w, w, wide=True, last=False)
        self.edge5 = Residual(high, high, wide=True, last=False)
        self.up3, self.up4 = normed(4 * w, high, 1), normed(8 * w, high, 1)
        self.guide3, self.guide4 = Guided(high, w), Guided(high, w)
        self.diff3, self.diff4 = normed(4 * w, w, 3), normed(8 * w, high, 3)
        self.pyramid = Pyramid(16 * w, 96, 4 * w, chained=False)
        self.of_fine, self.of_low = normed(4 * w, 4 * w, 1), normed(4 * w, 4 * w, 1)
        self.head = head(4 * w, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 8, w / 8]."""
        eighth = torch.relu(self.trunk(x))
        fine, edge, low = self.fine3(eighth), self.edge3(eighth), torch.relu(self.low3(eighth))
        fine, edge = self.guide3(fine, self.up3(low)), edge + grow(self.diff3(low), edge)
        low, fine, edge = (
            torch.relu(self.low4(low)), self.fine4(torch.relu(fine)), self.edge4(torch.relu(edge))
        )  # fmt: skip
        fine, edge = self.guide4(fine, self.up4(low)), edge + grow(self.diff4(low), edge)
        fine, edge = self.fine5(torch.relu(fine)), self.edge5(torch.relu(edge))
        low = grow(self.pyramid(self.low5(low)), fine)
        share = torch.sigmoid(edge)
        return self.head(self.of_fine((1 - share) * low + fine) + self.of_low(low + share * fine))


MODELS: dict[str, Callable[[], Made]] = {
    "ddrnet23_slim": normalized(simple(Ddrnet, STREET)),
    "pidnet": normalized(simple(Pidnet, STREET)),
}
