"""Writes small-lm/, a Hugging Face folder: Qwen3's architecture in small, with seeded random weights.

    python -m examples.causal_lm.make_model

It speaks no language: what it shows is the way, which a folder with trained weights takes unchanged.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

SPREAD = 0.2  # wide enough that every token changes what comes next


def write_model(folder: Path) -> None:
    """config.json and model.safetensors, as transformers itself saves them."""
    import torch

    library: Any = import_module("transformers")
    config = library.Qwen3Config(
        vocab_size=512,
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        head_dim=16,
        max_position_embeddings=256,
        tie_word_embeddings=True,
    )
    model = library.Qwen3ForCausalLM(config)
    random = torch.Generator().manual_seed(7)
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.ndim > 1:
                parameter.copy_(torch.randn(parameter.shape, generator=random) * SPREAD)
    model.eval().save_pretrained(folder)
    print(f"{folder}/ is here: {sum(one.numel() for one in model.parameters()) / 1e6:.2f} M parameters")


if __name__ == "__main__":
    write_model(Path("small-lm"))
