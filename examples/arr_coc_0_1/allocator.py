"""Three scorers, the balancer that weighs them, and the choice of visual tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from examples.arr_coc_0_1.configuration import CHANNELS, SCORERS, STATISTICS
from examples.arr_coc_0_1.texture import SOBEL_MAGNITUDE, TextureArray

if TYPE_CHECKING:
    from examples.arr_coc_0_1.configuration import ArrCocConfig

_TINY = 1e-6


class ParticipatoryScorer(nn.Module):
    """How near each cell is to the question: cosine with the mean of its embeddings, [1, grid, grid]."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(CHANNELS, hidden, 1)
        self.second = nn.Conv2d(hidden, width, 1)

    def forward(self, array: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """array [1, 13, grid, grid], query [1, width]."""
        features = self.second(torch.relu(self.first(array)))
        grid = features.shape[2:]
        cells = features.flatten(2).transpose(1, 2)
        cosine = _unit(cells) @ _unit(query)[:, :, None]
        return cosine.reshape(1, *grid)


class TensionBalancer(nn.Module):
    """The share of each scorer, [1, 3], from what their scores look like and from the question."""

    def __init__(self, hidden: int, width: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(SCORERS * STATISTICS + width, hidden),
            nn.ReLU(),
            nn.Linear(hidden, hidden),
            nn.ReLU(),
            nn.Linear(hidden, SCORERS),
        )

    def forward(self, scores: torch.Tensor, query: torch.Tensor) -> torch.Tensor:
        """scores [1, 3, cells], query [1, width]."""
        mean = scores.mean(2)
        spread = ((scores - mean[:, :, None]).square().mean(2) + _TINY).sqrt()
        return torch.softmax(self.layers(torch.cat((mean, spread, scores.amax(2), query), 1)), 1)


class Arr(nn.Module):
    """image and text embeddings -> which merged visual tokens the language model sees.

    The grid of cells is brought to the grid of merged tokens by area, for the published 32x32 assumes 1024
    visual tokens and a 512x512 image has 256. Scores are normalized per image, never over a batch.
    """

    by_area: torch.Tensor

    def __init__(self, config: ArrCocConfig) -> None:
        super().__init__()
        self.kept = config.kept
        self.texture = TextureArray(config.texture_pixels, config.texture_grid)
        self.participatory = ParticipatoryScorer(config.scorer_hidden, config.hidden)
        self.balancer = TensionBalancer(config.balancer_hidden, config.hidden)
        self.register_buffer("by_area", area_weights(config.texture_grid, config.grid), persistent=False)

    def forward(self, image: torch.Tensor, text_embeds: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """image [1, 3, pixels, pixels], RGB of 0..1; text_embeds [1, text, width].

        Returns positions [1, kept], rising indices of the row-major merged grid, and relevance [1, merged].
        """
        query = text_embeds.mean(1)
        array = self.texture(image)
        scores = torch.stack(
            (
                unit_range(information(array)),
                unit_range(array[:, SOBEL_MAGNITUDE]),
                unit_range(self.participatory(array, query)),
            ),
            1,
        )
        shares = self.balancer(scores.flatten(2), query)
        cells = (scores * shares[:, :, None, None]).sum(1)
        relevance = (self.by_area @ cells @ self.by_area.transpose(0, 1)).flatten(1)
        return choose(relevance, self.kept), relevance


def information(array: torch.Tensor) -> torch.Tensor:
    """Entropy of a softmax over the channels, [1, grid, grid], in nats."""
    likely = torch.softmax(array, 1)
    return -(likely * torch.log(likely + _TINY)).sum(1)


def unit_range(score: torch.Tensor) -> torch.Tensor:
    """0 at the image's least cell, 1 at its greatest."""
    low, high = score.amin((1, 2), keepdim=True), score.amax((1, 2), keepdim=True)
    return (score - low) / (high - low + _TINY)


def choose(relevance: torch.Tensor, count: int) -> torch.Tensor:
    """Indices [1, count] of the most relevant tokens, in the order in which an image is read."""
    places = torch.topk(relevance, count).indices
    return -torch.topk(-places.float(), count).values.to(torch.int64)


def area_weights(cells: int, tokens: int) -> torch.Tensor:
    """[tokens, cells]: what share of each token's side every cell covers; rows add up to 1."""
    edges = torch.arange(cells + 1, dtype=torch.float64) / cells
    ends = torch.arange(tokens + 1, dtype=torch.float64) / tokens
    low = torch.maximum(edges[None, :-1], ends[:-1, None])
    high = torch.minimum(edges[None, 1:], ends[1:, None])
    return ((high - low).clamp(min=0) * tokens).float()


def _unit(vectors: torch.Tensor) -> torch.Tensor:
    return vectors / (vectors.square().sum(-1, keepdim=True) + _TINY).sqrt()
