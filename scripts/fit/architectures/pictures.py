"""Networks that make pictures: super-resolution and inpainting, from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scripts.fit.architectures.blocks import image, simple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


def plain(widths: list[int], act: type[nn.Module], shuffle: int) -> Callable[[], Made]:
    """A straight super-resolution network (QuickSRNet, SRVGG): convolutions, then depth to space."""

    def build() -> Made:
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), act()]
        return nn.Sequential(*layers[:-1], nn.PixelShuffle(shuffle)), (image(128),)

    return build


def expanded(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """SESR's linear block as it is trained: up to 256 channels and back."""
    return nn.Sequential(
        nn.Conv2d(inputs, 256, kernel, padding=kernel // 2, bias=False),
        nn.Conv2d(256, outputs, 1, bias=False),
    )


class Sesr(nn.Module):
    """SESR-M as AI Hub runs it, its linear blocks not collapsed: 5x5, `middle` 3x3 with skips, 5x5."""

    def __init__(self, width: int, middle: int, scale: int) -> None:
        super().__init__()
        self.first = expanded(3, width, 5)
        self.middle = nn.ModuleList(expanded(width, width, 3) for _ in range(middle))
        self.last = expanded(width, 3 * scale**2, 5)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 3, scale h, scale w]."""
        first = hidden = torch.relu(self.first(x))
        for layer in self.middle:
            hidden = torch.relu(layer(hidden) + hidden)
        return self.shuffle(self.last(hidden + first))


class Aot(nn.Module):
    """An AOT block: four dilated branches, a fusion and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.ReflectionPad2d(rate), nn.Conv2d(width, width // 4, 3, dilation=rate), nn.ReLU())
            for rate in (1, 2, 4, 8)
        )
        self.fuse = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3))
        self.gate = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input and fusion mixed by the gate."""
        fused = self.fuse(torch.cat([branch(x) for branch in self.branches], 1))
        gate = self.gate(x)
        mean, deviation = gate.mean((2, 3), keepdim=True), gate.std((2, 3), keepdim=True)
        mask = torch.sigmoid(5 * (2 * (gate - mean) / (deviation + 1e-9) - 1))
        return x * (1 - mask) + fused * mask


class AotGan(nn.Module):
    """AOT-GAN's generator on a picture and its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(128, 256, 4, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.middle = nn.Sequential(*(Aot(256) for _ in range(8)))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(256, 128, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(128, 64, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(64, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The picture with its hole filled."""
        painted = torch.tanh(self.up(self.middle(self.down(torch.cat([x * (1 - mask) + mask, mask], 1)))))
        return x * (1 - mask) + painted * mask


class Resblock(nn.Module):
    """Two reflected 3x3 convolutions and a skip."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(rate), nn.Conv2d(width, width, 3, dilation=rate),
            nn.BatchNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input plus body."""
        return x + self.body(x)


class Lama(nn.Module):
    """LaMa with dilated residual blocks instead of Fourier convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.BatchNorm2d(64), nn.ReLU()]
        for width in (64, 128, 256):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()]
        layers += [Resblock(512, rate) for rate in (1, 2, 4, 8, 1, 2, 4, 8, 1)]
        for width in (512, 256, 128):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The picture with its hole filled."""
        return mask * self.body(torch.cat([x * (1 - mask), mask], 1)) + (1 - mask) * x


MASK = torch.zeros(1, 1, 512, 512)
MODELS: dict[str, Callable[[], Made]] = {
    "quicksrnetmedium": plain([32] * 6 + [48], nn.ReLU, 4),
    "quicksrnetlarge": plain([64] * 12 + [48], nn.ReLU, 4),
    "real_esrgan_general_x4v3": plain([64] * 33 + [48], nn.PReLU, 4),
    "sesr_m5": simple(lambda: Sesr(16, 5, 4), image(128)),
    "aotgan": simple(AotGan, image(512), MASK),
    "lama_dilated": simple(Lama, image(512), MASK),
}
