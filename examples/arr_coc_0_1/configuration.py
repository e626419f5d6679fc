"""Sizes of arr-coc-0-1: the published ones, and a reduced model of the same structure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from transformers import Qwen3VLConfig

CHANNELS = 13  # of the texture array
SCORERS = 3
STATISTICS = 3  # of each score, which the balancer reads: mean, standard deviation, largest


@dataclass(frozen=True)
class ArrCocConfig:
    """One size of the model.

    pixels: the side of the square image. keep: how many merged visual tokens the allocator lets through.
    texture_pixels: the side that the image has for the texture array, in texture_grid x texture_grid cells.
    qwen: the configuration of Qwen3-VL. text, tokens: prompt and answer of the scenario, in tokens.
    """

    name: str
    qwen: Qwen3VLConfig
    pixels: int
    keep: int
    texture_pixels: int
    texture_grid: int
    scorer_hidden: int = 64
    balancer_hidden: int = 128
    text: int = 64
    tokens: int = 64

    def __post_init__(self) -> None:
        step = self.patch * self.merge
        if self.pixels % step or self.pixels < step:
            raise ValueError(f"an image of {self.pixels} pixels is no multiple of {step}")
        if self.keep < 1:
            raise ValueError(f"keep is {self.keep}, and a token at least must get through")

    @property
    def patch(self) -> int:
        return int(self.qwen.vision_config.patch_size)

    @property
    def merge(self) -> int:
        return int(self.qwen.vision_config.spatial_merge_size)

    @property
    def grid(self) -> int:
        """Merged visual tokens a side."""
        return self.pixels // (self.patch * self.merge)

    @property
    def merged(self) -> int:
        """Visual tokens behind Qwen's 2x2 merge, which the allocator chooses from."""
        return self.grid**2

    @property
    def kept(self) -> int:
        """Visual tokens that the language model sees."""
        return min(self.keep, self.merged)

    @property
    def selects(self) -> bool:
        """Whether the allocator leaves a token out: K below the merged tokens."""
        return self.keep < self.merged

    @property
    def hidden(self) -> int:
        return int(self.qwen.text_config.hidden_size)


def full(pixels: int = 512, keep: int = 200) -> ArrCocConfig:
    """The published size: Qwen3-VL-2B-Instruct with its configuration, K = 200 of the image's tokens."""
    text: dict[str, Any] = {
        "vocab_size": 151936,
        "hidden_size": 2048,
        "num_hidden_layers": 28,
        "num_attention_heads": 16,
        "num_key_value_heads": 8,
        "head_dim": 128,
        "intermediate_size": 6144,
        "max_position_embeddings": 262144,
        "rope_theta": 5e6,
        "rope_scaling": {
            "rope_type": "default",
            "mrope_section": [24, 20, 20],
            "mrope_interleaved": True,
        },
        "tie_word_embeddings": True,
    }
    vision: dict[str, Any] = {
        "depth": 24,
        "hidden_size": 1024,
        "num_heads": 16,
        "intermediate_size": 4096,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": 2048,
        "num_position_embeddings": 2304,
        "deepstack_visual_indexes": [5, 11, 17],
    }
    qwen = Qwen3VLConfig(text_config=text, vision_config=vision, tie_word_embeddings=True)
    return ArrCocConfig("arr-coc-0-1", qwen, pixels, keep, texture_pixels=512, texture_grid=32)


def reduced(pixels: int = 128, keep: int = 10) -> ArrCocConfig:
    """Every part of the full model, small enough for a test: 4 layers each, 16 merged tokens."""
    text: dict[str, Any] = {
        "vocab_size": 320,
        "hidden_size": 64,
        "num_hidden_layers": 4,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 16,
        "intermediate_size": 96,
        "max_position_embeddings": 256,
        "rope_scaling": {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True},
        "tie_word_embeddings": True,
    }
    vision: dict[str, Any] = {
        "depth": 4,
        "hidden_size": 32,
        "num_heads": 2,
        "intermediate_size": 48,
        "patch_size": 16,
        "temporal_patch_size": 2,
        "spatial_merge_size": 2,
        "out_hidden_size": 64,
        "num_position_embeddings": 36,
        "deepstack_visual_indexes": [0, 1, 2],
    }
    special = {"image_token_id": 300, "video_token_id": 301, "vision_start_token_id": 302}
    qwen = Qwen3VLConfig(
        text_config=text,
        vision_config=vision,
        tie_word_embeddings=True,
        vision_end_token_id=303,
        **special,
    )
    return ArrCocConfig("arr-coc-0-1-reduced", qwen, pixels, keep, texture_pixels=128, texture_grid=8)
