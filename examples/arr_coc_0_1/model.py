"""arr-coc-0-1 as modules: weights of a user's checkpoint, or seeded random ones."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from transformers import Qwen3VLForConditionalGeneration

from edgekit.errors import SourceError
from examples.arr_coc_0_1.allocator import Arr
from examples.arr_coc_0_1.vision import VisionEncoder

if TYPE_CHECKING:
    from pathlib import Path

    from examples.arr_coc_0_1.configuration import ArrCocConfig

OWN_WEIGHTS = "arr_coc.safetensors"
SEED = 31
# Standard deviation of random matrices: 0.02 is what Qwen starts from; 0.3 makes narrow layers say something.
_SPREADS = ((1024, 0.02), (0, 0.3))


@dataclass(frozen=True)
class ArrCoc:
    """The parts. weights: where they came from, in words that belong beside every figure."""

    config: ArrCocConfig
    arr: Arr
    qwen: Any
    vision: VisionEncoder
    weights: str


class Embedding(nn.Module):
    """input_ids [1, text] -> text_embeds [1, text, width]."""

    def __init__(self, table: nn.Module) -> None:
        super().__init__()
        self.table = table

    def forward(self, input_ids: torch.Tensor) -> torch.Tensor:
        embeds: torch.Tensor = self.table(input_ids)
        return embeds


def build(config: ArrCocConfig, checkpoint: Path | None = None) -> ArrCoc:
    """The model in float32.

    checkpoint: a folder with Qwen3-VL's config and safetensors, and arr_coc.safetensors with the scorers' and
    the balancer's weights by name. SourceError where one is missing or of another shape. None: seeded
    random weights, which say nothing about accuracy.
    """
    if checkpoint is not None:
        return _load(config, checkpoint)
    parts = assemble(config, Qwen3VLForConditionalGeneration(config.qwen), "seeded random weights")
    draw(parts.arr)
    draw(parts.qwen)
    return parts


def assemble(config: ArrCocConfig, qwen: Any, weights: str) -> ArrCoc:
    """The parts around a Qwen3-VL model, as it is."""
    vision = VisionEncoder(qwen.model.visual, config.pixels // config.patch)
    return ArrCoc(config, Arr(config).eval(), qwen.eval(), vision.eval(), weights)


def draw(module: nn.Module) -> None:
    """Draw every matrix and bias anew, the same numbers each time; what is on the meta device stays there."""
    random = torch.Generator().manual_seed(SEED)
    with torch.no_grad():
        for name, parameter in module.named_parameters():
            if not parameter.is_meta and (parameter.ndim > 1 or name.endswith("bias")):
                spread = next(spread for least, spread in _SPREADS if parameter.shape[-1] >= least)
                parameter.normal_(0.0, spread, generator=random)


def _load(config: ArrCocConfig, checkpoint: Path) -> ArrCoc:
    from safetensors.torch import load_file

    from edgekit.sources.hf_folder import load_weights

    qwen_config = config.qwen
    qwen_config.architectures = ["Qwen3VLForConditionalGeneration"]
    parts = assemble(config, load_weights(checkpoint, qwen_config), f"weights of {checkpoint.name}")
    own = checkpoint / OWN_WEIGHTS
    if not own.is_file():
        raise SourceError(
            f"'{own}' is missing: the weights of the scorers and the balancer",
            fix=f"save arr.state_dict() there with safetensors as {OWN_WEIGHTS}",
        )
    try:
        parts.arr.load_state_dict(load_file(own))
    except RuntimeError as error:
        raise SourceError(f"'{own}' is of another model: {error}", fix="take both from one model") from error
    return parts
