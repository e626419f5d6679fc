"""PyTorch modules and factories that the export tests name as `tests.sources.torch_zoo:NAME`."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn


class Mixer(nn.Module):
    """A convolution over [batch, 3, 8, width], summed to [batch, 4]."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(3)
        self.body = nn.Sequential(nn.Conv2d(3, 4, 3, padding=1), nn.ReLU())

    def forward(self, x: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
        mixed: torch.Tensor = self.body(x).mean((2, 3)) * scale
        return mixed


class Brancher(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:  # the line that the error must name
            return x + 1
        return x - 1


class Outer(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.head = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        shown: torch.Tensor = self.head(x * 2)
        return shown


class FixedWidth(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.reshape(2, 4)


class NoOnnx(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.linalg.eigvals(x @ x.T).abs()  # type: ignore[no-any-return]


class Broken(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x @ x


class Noisy(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + torch.rand_like(x)


class Doubling(nn.Module):
    """Takes one way at the example's length and another at any other."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x * 2


def mixer() -> tuple[Any, ...]:
    inputs = {"x": torch.randn(2, 3, 8, 6), "scale": torch.tensor(2.0)}
    return Mixer(), inputs, {"x": {0: "batch", 3: ("width", 4, 12)}}


def mixer_in_order() -> tuple[Any, ...]:
    return Mixer(), (torch.randn(2, 3, 8, 6), torch.tensor(2.0))


def branching() -> tuple[Any, ...]:
    return Outer(Brancher()), (torch.randn(2, 4),)


def fixed_width() -> tuple[Any, ...]:
    return FixedWidth(), (torch.randn(2, 4),), {"x": {0: "batch"}}


def no_onnx() -> tuple[Any, ...]:
    return Outer(NoOnnx()), (torch.randn(4, 4),)


def broken() -> tuple[Any, ...]:
    return Outer(Broken()), (torch.randn(2, 3),)


def noisy() -> tuple[Any, ...]:
    return Noisy(), (torch.randn(2, 3),)


def raising() -> None:
    raise ValueError("no checkpoint here")


def nothing() -> str:
    return "a text"


def no_inputs() -> tuple[Any, ...]:
    return Mixer(), {}


def single_size() -> tuple[Any, ...]:
    return Doubling(), (torch.randn(1, 3),), {"x": {0: "batch"}}


def two_sizes() -> tuple[Any, ...]:
    inputs = {"x": torch.randn(2, 3, 8, 6), "scale": torch.ones(3, 1)}
    return Mixer(), inputs, {"x": {0: "batch"}, "scale": {0: "batch"}}
