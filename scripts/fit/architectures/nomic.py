"""nomic-embed-text: a BERT of rotary attention and gated layers, from its paper."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.blocks import simple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


class Rotary(nn.Module):
    """A layer of Nomic's BERT: rotary attention and a gated inner layer, without biases, norms after."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.joined, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False),
            nn.Linear(inner, width, bias=False),
        )  # fmt: skip
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """[1, n, width] -> [1, n, width]."""
        query, key, value = (
            part.reshape(1, -1, self.heads, self.size).transpose(1, 2) for part in self.joined(x).chunk(3, -1)
        )
        query, key = (self._turn(part, cosine, sine) for part in (query, key))
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, -1)
        seen = (weights @ value).transpose(1, 2).reshape(1, -1, self.heads * self.size)
        x = self.first(x + self.out(seen))
        return self.second(x + self.down(self.up(x) * functional.silu(self.gate(x))))

    def _turn(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return x * cosine + torch.cat([-right, left], -1) * sine


class Nomic(nn.Module):
    """nomic-embed-text: twelve rotary layers, the mean of all tokens."""

    def __init__(self, length: int = 128) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(30528, 768), nn.LayerNorm(768)
        self.layers = nn.ModuleList(Rotary(768, 12, 3072) for _ in range(12))
        self.register_buffer("cosine", torch.ones(length, 64))
        self.register_buffer("sine", torch.zeros(length, 64))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[1, n] twice -> [1, 768]."""
        x = self.norm(self.table(ids))
        for layer in self.layers:
            x = layer(x, self.cosine, self.sine)
        kept = mask[..., None].to(x.dtype)
        pooled = (x * kept).sum(1) / kept.sum(1)
        return pooled / pooled.pow(2).sum(-1, keepdim=True).sqrt()


TEXT = torch.zeros(1, 128, dtype=torch.int64)
MODELS: dict[str, Callable[[], Made]] = {
    "nomic_embed_text": simple(Nomic, TEXT, torch.ones_like(TEXT)),
}
