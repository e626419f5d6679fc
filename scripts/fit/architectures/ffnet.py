"""FFNet street segmenters of several depths and sizes, from their paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.blocks import block, normalized, normed

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.fit.architectures.blocks import Made


STREET = torch.zeros(1, 3, 1024, 2048)
LOW = torch.zeros(1, 3, 512, 1024)
CLASSES = 19


class Residual(nn.Module):
    """Two 3x3, or 1x1 3x3 1x1 that widen twice (`wide`), and a shortcut; `last` activates the sum."""

    def __init__(
        self, inputs: int, width: int, stride: int = 1, *, wide: bool = False, last: bool = True
    ) -> None:
        super().__init__()
        outputs = 2 * width if wide else width
        if wide:
            layers = [block(inputs, width, 1), block(width, width, 3, stride), normed(width, outputs, 1)]
        else:
            layers = [block(inputs, width, 3, stride), normed(width, outputs, 3)]
        self.body = nn.Sequential(*layers)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else normed(inputs, outputs, 1, stride)
        self.last = nn.ReLU() if last else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Body plus shortcut."""
        return self.last(self.body(x) + self.short(x))


def stage(inputs: int, width: int, count: int, stride: int = 1, *, last: bool = True) -> nn.Sequential:
    """`count` residual blocks; `last` as the last one's."""
    made = [Residual(inputs, width, stride, last=last if count == 1 else True)]
    made += [Residual(width, width, last=last or index < count - 1) for index in range(1, count)]
    return nn.Sequential(*made)


class Ffnet(nn.Module):
    """A ResNet of basic blocks, lateral 1x1, a path from coarse to fine, and a head on all four joined."""

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], widths: Sequence[int], head: str
    ) -> None:
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleList(stages)
        lateral = (64, 128, 128, 256) if head == "B" else (128, 128, 128, 128)
        smooth = (96, 96, 64, 32) if head == "B" else (128, 16, 16, 16)
        self.lateral = nn.ModuleList(block(*pair, 1) for pair in zip(widths, lateral, strict=True))
        self.smooth = nn.ModuleList(block(*pair, 3) for pair in zip(lateral, smooth, strict=True))
        self.up = nn.ModuleList(block(lateral[i + 1], lateral[i], 1) for i in range(3))
        middle, kernel = (256, 3) if head == "B" else (128, 1)
        self.head = nn.Sequential(
            block(sum(smooth), middle, kernel), nn.Conv2d(middle, CLASSES, kernel, padding=kernel // 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 4 or h / 8, ...]."""
        x, found = self.stem(x), []
        for part in self.stages:
            x = part(x)
            found.append(x)
        found = [layer(x) for layer, x in zip(self.lateral, found, strict=True)]
        hidden = found[3]
        made = [self.smooth[3](hidden)]
        for level in (2, 1, 0):
            size = found[level].shape[2:]
            hidden = functional.interpolate(self.up[level](hidden), size, mode="nearest") + found[level]
            made.insert(0, self.smooth[level](hidden))
        size = made[0].shape[2:]
        wide = [made[0], *(functional.interpolate(one, size, mode="nearest") for one in made[1:])]
        return self.head(torch.cat(wide, 1))


class Halve(nn.Module):
    """A picture blurred to half its size, as the low-resolution FFNets begin with 1024 x 512."""

    def __init__(self) -> None:
        super().__init__()
        self.blur = nn.Conv2d(3, 3, 5, 2, groups=3, bias=False)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 3, h / 2 - 1, w / 2 - 2]: its edges are mirrored above and below only."""
        return self.blur(functional.pad(x, (0, 0, 1, 1), mode="reflect"))


def slim(counts: tuple[int, ...], first: int, head: str, sample: torch.Tensor) -> Callable[[], Made]:
    """FFNet with a slim ResNet; `first` is the first stage's stride."""

    def build() -> Made:
        widths = (64, 128, 192, 320)
        stages = [
            stage(inputs, width, count, stride)
            for inputs, width, count, stride in zip(
                (64, *widths), widths, counts, (first, 2, 2, 2), strict=False
            )
        ]
        low = [Halve()] if sample is LOW else []
        stem = nn.Sequential(*low, block(3, 32, 3, 2), block(32, 64, 3, 2))
        return Ffnet(stem, stages, widths, head), (sample,)

    return build


def narrow(counts: tuple[int, ...], head: str) -> Callable[[], Made]:
    """FFNet with three stages after a stem that is the first."""

    def build() -> Made:
        widths = (64, 64, 128, 256)
        rows = zip(widths, widths[1:], counts, strict=False)
        stages = [block(64, 64, 3), *(stage(inputs, width, count, 2) for inputs, width, count in rows)]
        stem = nn.Sequential(Halve(), block(3, 64, 3, 2), block(64, 64, 3, 2))
        return Ffnet(stem, stages, widths, head), (LOW,)

    return build


_PLAIN: dict[str, Callable[[], Made]] = {
    "ffnet_40s": slim((4, 5, 6, 4), 2, "B", STREET),
    "ffnet_78s": slim((6, 12, 12, 8), 2, "B", STREET),
    "ffnet_78s_lowres": slim((6, 12, 12, 8), 1, "C", LOW),
    "ffnet_122ns_lowres": narrow((16, 24, 20), "C"),
}
MODELS = {name: normalized(build) for name, build in _PLAIN.items()}
