"""What networks written out from their papers are built of."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable

    Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


def image(size: int | tuple[int, int], batch: int = 1) -> torch.Tensor:
    """A picture of zeros, [batch, 3, height, width]."""
    height, width = (size, size) if isinstance(size, int) else size
    return torch.zeros(batch, 3, height, width)


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


class Labelled(nn.Module):
    """A segmenter that gives the best class of each pixel, as AI Hub's DeepLab and FCN do."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, h, w]."""
        return self.model(x).argmax(1).to(torch.uint8)


class Normalized(nn.Module):
    """A model that takes pictures of 0 to 1 and centres and scales their channels itself, as AI Hub's do."""

    def __init__(self, model: nn.Module, dims: int) -> None:
        super().__init__()
        self.model = model
        shape = (1, 3, *[1] * (dims - 2))
        self.register_buffer("mean", torch.tensor([0.485, 0.456, 0.406]).reshape(shape))
        self.register_buffer("deviation", torch.tensor([0.229, 0.224, 0.225]).reshape(shape))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the model makes of [1, 3, ...]."""
        return self.model((x - self.mean) / self.deviation)


def normalized(build: Callable[[], Made]) -> Callable[[], Made]:
    """The model that `build` makes, with its normalization inside."""

    def made() -> Made:
        model, samples = build()
        return Normalized(model, samples[0].dim()), samples

    return made
