"""Qwen3-VL's vision tower for one square image of a fixed size, and the gather of the chosen tokens."""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn import functional

_THETA = 10000.0


class VisionEncoder(nn.Module):
    """pixel_values and positions -> the chosen visual tokens, and their DeepStack features.

    It computes with the weights of transformers' tower. Expressed anew is what an export can't hold:
    cu_seqlens and torch.split (one image needs neither), and the interpolation of position embeddings,
    whose indices and weights follow from the fixed grid.
    """

    cosine: torch.Tensor
    sine: torch.Tensor
    index: torch.Tensor
    share: torch.Tensor

    def __init__(self, tower: Any, side: int) -> None:
        """side: patches a side of the image."""
        super().__init__()
        config = tower.config
        self.tower = tower
        self.heads = int(config.num_heads)
        self.head_dim = int(config.hidden_size) // self.heads
        rows, columns = patch_places(side, int(config.spatial_merge_size))
        angles = _angles(rows, columns, self.head_dim)
        index, share = _interpolation(rows, columns, side, tower.num_grid_per_side)
        self.register_buffer("cosine", angles.cos(), persistent=False)
        self.register_buffer("sine", angles.sin(), persistent=False)
        self.register_buffer("index", index, persistent=False)
        self.register_buffer("share", share, persistent=False)

    def forward(
        self, pixel_values: torch.Tensor, positions: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """pixel_values [patches, 1536] as Qwen's processor gives them; positions [1, keep] in the grid.

        Returns visual_embeds [1, keep, width] and deepstack [3, 1, keep, width].
        """
        tower = self.tower
        chosen = positions[0]
        projection = tower.patch_embed.proj
        hidden = functional.linear(pixel_values, projection.weight.flatten(1), projection.bias)
        hidden = hidden + (tower.pos_embed(self.index) * self.share).sum(0)
        features = []
        taken = list(tower.deepstack_visual_indexes)
        for number, block in enumerate(tower.blocks):
            hidden = hidden + self._attend(block.attn, block.norm1(hidden))
            hidden = hidden + block.mlp(block.norm2(hidden))
            if number in taken:
                merged = tower.deepstack_merger_list[taken.index(number)](hidden)
                features.append(merged.index_select(0, chosen))
        return tower.merger(hidden).index_select(0, chosen)[None], torch.stack(features)[:, None]

    def _attend(self, attention: Any, hidden: torch.Tensor) -> torch.Tensor:
        count, width = hidden.shape
        query, key, value = (
            part.reshape(count, self.heads, self.head_dim).transpose(0, 1)
            for part in attention.qkv(hidden).split(width, 1)
        )
        scores = self._turn(query) @ self._turn(key).transpose(1, 2) * attention.scaling
        seen = torch.softmax(scores, -1) @ value
        mixed: torch.Tensor = attention.proj(seen.transpose(0, 1).reshape(count, width))
        return mixed

    def _turn(self, heads: torch.Tensor) -> torch.Tensor:
        """Rotary embedding of [heads, patches, size]."""
        low, high = heads.split(self.head_dim // 2, -1)
        return heads * self.cosine + torch.cat((-high, low), -1) * self.sine


def patch_places(side: int, merge: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Row and column of each patch in Qwen's order: the patches of one merged token follow each other."""
    grid = torch.arange(side * side).reshape(side // merge, merge, side // merge, merge)
    order = grid.permute(0, 2, 1, 3).flatten()
    return order // side, order % side


def _angles(rows: torch.Tensor, columns: torch.Tensor, head_dim: int) -> torch.Tensor:
    """[patches, head_dim]: a quarter turns by the row and one by the column, and both again."""
    quarter = head_dim // 4
    speed = 1.0 / _THETA ** (torch.arange(quarter, dtype=torch.float32) * 2 / (head_dim // 2))
    angles = torch.cat((rows[:, None] * speed, columns[:, None] * speed), 1)
    return torch.cat((angles, angles), 1)


def _interpolation(
    rows: torch.Tensor, columns: torch.Tensor, side: int, known: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Bilinear between known x known position embeddings: indices [4, patches], weights [4, patches, 1]."""
    line = torch.linspace(0, known - 1, side)
    corners = []
    for place in (line[rows], line[columns]):
        low = place.long()
        high = (low + 1).clamp(max=known - 1)
        apart = place - low
        corners.append(((low, 1 - apart), (high, apart)))
    pairs = [(vertical, horizontal) for vertical in corners[0] for horizontal in corners[1]]
    index = torch.stack([vertical[0] * known + horizontal[0] for vertical, horizontal in pairs])
    share = torch.stack([vertical[1] * horizontal[1] for vertical, horizontal in pairs])
    return index, share[:, :, None]
