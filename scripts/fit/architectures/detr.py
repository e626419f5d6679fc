"""DETR detectors, from their paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scripts.fit.architectures.blocks import image, normalized

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


class Attention(nn.Module):
    """Multi-head attention of one sequence over another, batch 1."""

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, x: torch.Tensor, other: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """[1, n, width], [1, m, width] twice -> [1, n, width]."""
        query, key, value = (
            layer(rows).reshape(1, -1, self.heads, self.size).transpose(1, 2)
            for layer, rows in ((self.query, x), (self.key, other), (self.value, values))
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, -1)
        return self.out((weights @ value).transpose(1, 2).reshape(1, -1, self.heads * self.size))


class DetrLayer(nn.Module):
    """An encoder layer, or with `crossed` a decoder layer; positions are added to queries and keys."""

    def __init__(self, width: int = 256, *, crossed: bool) -> None:
        super().__init__()
        self.own, self.norm = Attention(width, 8), nn.LayerNorm(width)
        self.cross = Attention(width, 8) if crossed else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inner = nn.Sequential(nn.Linear(width, 2048), nn.ReLU(), nn.Linear(2048, width))

    def forward(
        self, x: torch.Tensor, places: torch.Tensor, seen: torch.Tensor, where: torch.Tensor
    ) -> torch.Tensor:
        """[1, n, width] -> [1, n, width]."""
        x = self.norm(x + self.own(x + places, x + places, x))
        if self.cross is not None:
            x = self.norms[0](x + self.cross(x + places, seen + where, seen))
        return self.norms[1](x + self.inner(x))


class Detr(nn.Module):
    """DETR: a ResNet, six encoder and six decoder layers, a hundred queries."""

    def __init__(self, depth: int, *, dilated: bool) -> None:
        super().__init__()
        from torchvision.models import get_model

        net = get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=[False, False, dilated])
        self.body = nn.Sequential(*list(net.children())[:-2], nn.Conv2d(2048, 256, 1))
        count = 1600 if dilated else 400
        self.where = nn.Parameter(torch.zeros(1, count, 256))
        self.queries = nn.Parameter(torch.zeros(1, 100, 256))
        self.encoder = nn.ModuleList(DetrLayer(crossed=False) for _ in range(6))
        self.decoder = nn.ModuleList(DetrLayer(crossed=True) for _ in range(6))
        self.norm, self.score = nn.LayerNorm(256), nn.Linear(256, 92)
        self.box = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[1, 3, 640, 640] -> boxes [1, 100, 4] as corners, the best scores [1, 100] and their classes."""
        seen = self.body(x).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            seen = layer(seen, self.where, seen, self.where)
        made = torch.zeros_like(self.queries)
        for layer in self.decoder:
            made = layer(made, self.queries, seen, self.where)
        made = self.norm(made)
        best, classes = torch.softmax(self.score(made), -1)[..., :-1].max(-1)
        middle, size = torch.sigmoid(self.box(made)).split(2, -1)
        return 640 * torch.cat([middle - size / 2, middle + size / 2], -1), best, classes


def _detr(depth: int, *, dilated: bool) -> Callable[[], Made]:
    return normalized(lambda: (Detr(depth, dilated=dilated), (image(640),)))


MODELS: dict[str, Callable[[], Made]] = {
    "detr_resnet50": _detr(50, dilated=False),
    "detr_resnet101": _detr(101, dilated=False),
    "detr_resnet50_dc5": _detr(50, dilated=True),
    "detr_resnet101_dc5": _detr(101, dilated=True),
}
