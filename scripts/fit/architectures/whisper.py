"""Whisper as AI Hub runs it on NPUs: heads apart, every projection a 1x1 convolution."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from scripts.fit.architectures.blocks import Made

HEAD = 64  # channels of a head, in all sizes
FRAMES, PLACES = 3000, 1500  # of the spectrogram of 30 s, and of the encoder
PAST, VOCABULARY = 199, 51865


def heads(width: int, *, bias: bool) -> nn.ModuleList:
    """A projection for each head."""
    return nn.ModuleList(nn.Conv2d(width, HEAD, 1, bias=bias) for _ in range(width // HEAD))


def keys_of(project: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    """[1, width, 1, n] -> [1, 1, 64, n] a head."""
    return [one(x).permute(0, 2, 1, 3) for one in project]


def values_of(project: nn.ModuleList, x: torch.Tensor) -> list[torch.Tensor]:
    """[1, width, 1, n] -> [1, 1, n, 64] a head."""
    return [one(x).permute(0, 2, 3, 1) for one in project]


class Attend(nn.Module):
    """Queries, attention head by head, and the output's projection."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.query, self.out = heads(width, bias=True), nn.Conv2d(width, width, 1)

    def forward(
        self,
        x: torch.Tensor,
        keys: Sequence[torch.Tensor],
        values: Sequence[torch.Tensor],
        mask: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """[1, width, 1, n] and a head's keys [1, 1, 64, m] and values [1, 1, m, 64] -> [1, 1, n, width]."""
        made = []
        for query, key, value in zip(values_of(self.query, x), keys, values, strict=True):
            weights = query @ key if mask is None else query @ key + mask
            made.append(torch.softmax(weights, -1) @ value)
        return self.out(torch.cat(made, -1).permute(0, 3, 1, 2)).permute(0, 2, 3, 1)


class Inner(nn.Module):
    """The feed-forward part with its norm and skip, [1, 1, n, width]."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.up, self.down = nn.Conv2d(width, 4 * width, 1), nn.Conv2d(4 * width, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same shape."""
        hidden = functional.gelu(self.up(self.norm(x).permute(0, 3, 1, 2)))
        return x + self.down(hidden).permute(0, 2, 3, 1)


class EncoderLayer(nn.Module):
    """Self-attention and the feed-forward part."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attend, self.inner = nn.LayerNorm(width), Attend(width), Inner(width)
        self.keys, self.values = heads(width, bias=False), heads(width, bias=True)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 1, n, width], the same out."""
        hidden = self.norm(x).permute(0, 3, 1, 2)
        x = x + self.attend(hidden, keys_of(self.keys, hidden), values_of(self.values, hidden))
        return self.inner(x)


class Encoder(nn.Module):
    """The encoder, with the cross-attention keys and values of each decoder layer."""

    def __init__(self, width: int, layers: int, decoders: int, mels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(mels, width, (1, 3), padding=(0, 1))
        self.second = nn.Conv2d(width, width, (1, 3), stride=2, padding=(0, 1))
        self.places = nn.Parameter(torch.zeros(PLACES, width))
        self.layers = nn.ModuleList(EncoderLayer(width) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        self.keys = nn.ModuleList(heads(width, bias=False) for _ in range(decoders))
        self.values = nn.ModuleList(heads(width, bias=True) for _ in range(decoders))

    def forward(self, mels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[1, mels, 3000] -> keys [heads, 1, 64, 1500] and values [heads, 1, 1500, 64] a decoder layer."""
        x = functional.gelu(self.first(mels.unsqueeze(2)))
        x = functional.gelu(self.second(x)).permute(0, 2, 3, 1) + self.places
        for layer in self.layers:
            x = layer(x)
        x = self.norm(x).permute(0, 3, 1, 2)
        made = [torch.cat(keys_of(project, x)) for project in self.keys]
        return (*made, *(torch.cat(values_of(project, x)) for project in self.values))


class DecoderLayer(nn.Module):
    """Self-attention over a cache that drops its oldest place, attention to the encoder, feed-forward."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm, self.attend, self.inner = nn.LayerNorm(width), Attend(width), Inner(width)
        self.keys, self.values = heads(width, bias=False), heads(width, bias=True)
        self.other_norm, self.cross = nn.LayerNorm(width), Attend(width)

    def forward(
        self, x: torch.Tensor, cache: Sequence[torch.Tensor], mask: torch.Tensor
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """cache: past keys and values of this layer, then the encoder's keys and values."""
        past_keys, past_values, keys, values = (part.split(1) for part in cache)
        hidden = self.norm(x).permute(0, 3, 1, 2)
        new = zip(past_keys, keys_of(self.keys, hidden), strict=True)
        all_keys = [torch.cat(pair, -1) for pair in new]
        new = zip(past_values, values_of(self.values, hidden), strict=True)
        all_values = [torch.cat(pair, -2) for pair in new]
        x = x + self.attend(hidden, all_keys, all_values, mask)
        x = x + self.cross(self.other_norm(x).permute(0, 3, 1, 2), keys, values)
        return self.inner(x), torch.cat(all_keys)[..., 1:], torch.cat(all_values)[..., 1:, :]


class Decoder(nn.Module):
    """One token: scores of the vocabulary and the caches moved on."""

    def __init__(self, width: int, layers: int) -> None:
        super().__init__()
        self.words, self.places = nn.Embedding(VOCABULARY, width), nn.Embedding(448, width)
        self.layers = nn.ModuleList(DecoderLayer(width) for _ in range(layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Conv2d(width, VOCABULARY, 1, bias=False)

    def forward(
        self, token: torch.Tensor, place: torch.Tensor, mask: torch.Tensor, *caches: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """[1, 1], [1, 1], [1, 1, 1, 200], four caches a layer -> [1, vocabulary, 1, 1] and two a layer."""
        x = (self.words(token) + self.places(place)).unsqueeze(0)
        kept = []
        for index, layer in enumerate(self.layers):
            x, keys, values = layer(x, caches[4 * index : 4 * index + 4], mask)
            kept += [keys, values]
        return (self.head(self.norm(x).permute(0, 3, 1, 2)), *kept)


def encoder(width: int, layers: int, decoders: int, mels: int = 80) -> Callable[[], Made]:
    """An encoder and its input."""
    return lambda: (Encoder(width, layers, decoders, mels), (torch.zeros(1, mels, FRAMES),))


def decoder(width: int, layers: int) -> Callable[[], Made]:
    """A decoder and its inputs: one token beside a full cache."""
    count, one = width // HEAD, torch.zeros(1, 1, dtype=torch.int64)
    shapes = [
        (count, 1, HEAD, PAST),
        (count, 1, PAST, HEAD),
        (count, 1, HEAD, PLACES),
        (count, 1, PLACES, HEAD),
    ]
    caches = [torch.zeros(shape) for shape in shapes]
    return lambda: (Decoder(width, layers), (one, one, torch.zeros(1, 1, 1, PAST + 1), *caches * layers))


MODELS: dict[str, Callable[[], Made]] = {
    "whisper_base/HfWhisperEncoder": encoder(512, 6, 6),
    "whisper_small/HfWhisperEncoder": encoder(768, 12, 12),
    "whisper_large_v3_turbo/HfWhisperEncoder": encoder(1280, 32, 4, mels=128),
    "whisper_base/HfWhisperDecoder": decoder(512, 6),
    "whisper_small/HfWhisperDecoder": decoder(768, 12),
    "whisper_large_v3_turbo/HfWhisperDecoder": decoder(1280, 4),
}
