"""What networks written out from their papers are built of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.packaged import Made


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (at stride 1)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=group, bias=False)


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), act())


def normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))


class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, ratio: int = 16) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // ratio, 1), nn.Conv2d(width // ratio, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input scaled by channel."""
        return x * torch.sigmoid(self.up(torch.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))))


def grow(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`x` resized to another's height and width."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear")


def simple(make: Callable[[], nn.Module], *samples: torch.Tensor) -> Callable[[], Made]:
    """A module and its inputs."""
    return lambda: (make(), samples)
