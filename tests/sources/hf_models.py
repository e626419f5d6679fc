"""Reduced-size transformers models with seeded random weights, and their own logits token by token."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    DynamicCache,
    Qwen3Config,
    Qwen3ForCausalLM,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

if TYPE_CHECKING:
    from pathlib import Path

VOCABULARY = 160
TEXT = {
    "vocab_size": VOCABULARY,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "max_position_embeddings": 128,
    "tie_word_embeddings": True,
}
# Sections of the interleaved rotary embedding over time, height and width: they add up to half a head.
MROPE = {"rope_type": "default", "mrope_section": [4, 2, 2], "mrope_interleaved": True}


def seeded(module: torch.nn.Module, spread: float = 0.3) -> Any:
    """The module in eval mode, every matrix drawn anew: wide enough that each token changes the logits."""
    random = torch.Generator().manual_seed(11)
    with torch.no_grad():
        for parameter in module.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * spread)
    return module.eval()


def qwen3() -> Any:
    return seeded(Qwen3ForCausalLM(Qwen3Config(**TEXT)))


def qwen3_vl() -> Any:
    """Qwen3-VL with a text decoder of that size; its vision tower is as small as can be."""
    vision: dict[str, Any] = {
        "depth": 1,
        "hidden_size": 16,
        "num_heads": 2,
        "intermediate_size": 16,
        "out_hidden_size": 64,
    }
    vision |= {"deepstack_visual_indexes": [0], "num_position_embeddings": 16}
    config = Qwen3VLConfig(text_config={**TEXT, "rope_scaling": MROPE}, vision_config=vision)
    return seeded(Qwen3VLForConditionalGeneration(config))


def bert() -> Any:
    sizes: dict[str, Any] = {
        "vocab_size": 50,
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
    }
    config = BertConfig(**sizes, intermediate_size=16, max_position_embeddings=32, num_labels=3)
    return BertForSequenceClassification(config).eval()


def save(module: Any, folder: Path) -> Path:
    """As transformers itself saves it: config.json and safetensors."""
    module.save_pretrained(folder)
    return folder


def tokens(count: int) -> list[int]:
    return [int(one) for one in np.random.default_rng(4).integers(0, VOCABULARY, count)]


def own_logits(module: Any, ids: list[int]) -> np.ndarray:
    """Logits [count, vocabulary] of transformers' own code, with eager attention and its own cache."""
    module.set_attn_implementation("eager")
    cache, rows = DynamicCache(), []
    with torch.no_grad():
        for place, token in enumerate(ids):
            out = module(
                input_ids=torch.tensor([[token]]),
                past_key_values=cache,
                use_cache=True,
                cache_position=torch.tensor([place]),
            )
            rows.append(out.logits[0, -1].numpy())
    return np.stack(rows)
