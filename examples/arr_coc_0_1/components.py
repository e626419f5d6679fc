"""arr-coc-0-1 as a source of five components, with the scenario of one question about one image."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from transformers import Qwen3VLForConditionalGeneration

from edgekit.sources.hf_decoder import DECODE, PREFILL, DecoderForm, decoder_source
from edgekit.sources.torch_component import DynamicDim, TorchComponent, TorchSource
from examples.arr_coc_0_1.configuration import full as full_size
from examples.arr_coc_0_1.configuration import reduced as reduced_size
from examples.arr_coc_0_1.model import Embedding, assemble, build

if TYPE_CHECKING:
    from examples.arr_coc_0_1.configuration import ArrCocConfig
    from examples.arr_coc_0_1.model import ArrCoc

EMBED, ARR, VISION = "embed", "arr", "vision"
_TEXT = 6  # tokens of the example prompt
_ARR_FILE = f"""[component.{ARR}]
file = "{ARR}.onnx"

"""
_ARR_STEP = f"""[[step]]
component = "{ARR}"
feeds = "{VISION}"
phase = "encode"

"""


def reduced() -> TorchSource:
    """The reduced size: `edgekit convert examples.arr_coc_0_1.components:reduced ...`."""
    return make_source(build(reduced_size()))


def full() -> TorchSource:
    """The published size; without `--shape-only` it takes 9 GB."""
    return make_source(build(full_size()))


def make_source(parts: ArrCoc, *, shape_only: bool = False, seed: int | None = None) -> TorchSource:
    """embed, arr, vision, prefill and decode of a model.

    prefill and decode are compared with transformers' own forward, unless the weights have no values.
    shape_only, seed: as in TorchSource.
    """
    config = parts.config
    stack = len(config.qwen.vision_config.deepstack_visual_indexes)
    hollow = shape_only or any(parameter.is_meta for parameter in parts.qwen.parameters())
    decoder = decoder_source(parts.qwen, DecoderForm("embeds", stack), shape_only=hollow).components
    components = {
        EMBED: _embed(parts),
        **({ARR: _arr(parts)} if config.selects else {}),
        VISION: _vision(parts),
        PREFILL: decoder[PREFILL],
        DECODE: decoder[DECODE],
    }
    return TorchSource(components, scenario(config, parts.weights), shape_only, seed)


def hollow_source(config: ArrCocConfig, seed: int | None = None) -> tuple[TorchSource, str]:
    """The source without weights, to be drawn by a convert if there is a seed, and what to call them."""
    from edgekit.sources.weightless import fill_hollow, without_weights

    words = "no weights" if seed is None else "seeded random weights"
    with without_weights():
        parts = assemble(config, Qwen3VLForConditionalGeneration(config.qwen), words)
    fill_hollow([parts.arr, parts.qwen, parts.vision])
    return make_source(parts, shape_only=True, seed=seed), words


def scenario(config: ArrCocConfig, weights: str) -> str:
    """The scenario.toml: what runs in which order, how often, who feeds whom; without selection no `arr`."""
    prompt = config.text + config.kept
    return f"""title = "{title(config, weights)}"

[sizes]
text = {config.text}
keep = {config.kept}
prompt = {prompt}
past = {prompt + config.tokens}
tokens = {config.tokens}

[component.{EMBED}]
file = "{EMBED}.onnx"
weights_of = "{DECODE}"

{_ARR_FILE if config.selects else ""}[component.{VISION}]
file = "{VISION}.onnx"

[component.{PREFILL}]
file = "{PREFILL}.onnx"
weights_of = "{DECODE}"

[component.{DECODE}]
file = "{DECODE}.onnx"
cache = ["past_key_*", "past_value_*"]

[[step]]
component = "{EMBED}"
feeds = {f'["{ARR}", "{PREFILL}"]' if config.selects else f'"{PREFILL}"'}
phase = "encode"

{_ARR_STEP if config.selects else ""}[[step]]
component = "{VISION}"
feeds = "{PREFILL}"
phase = "encode"

[[step]]
component = "{PREFILL}"
feeds = "{DECODE}"
phase = "prefill"

[[step]]
component = "{DECODE}"
repeat = "tokens"
feeds = "{DECODE}"
phase = "decode"
"""


def title(config: ArrCocConfig, weights: str) -> str:
    """Size, image, chosen tokens and where the weights come from, in one line."""
    chosen = f"{config.kept} of {config.merged} visual tokens"
    if not config.selects:
        chosen = f"all {config.merged} visual tokens (K = {config.keep}: no selection)"
    return f"{config.name}, {config.pixels}x{config.pixels}, {chosen}, {weights}"


def _embed(parts: ArrCoc) -> TorchComponent:
    ids = torch.arange(_TEXT)[None]
    text = DynamicDim("text", 1, 4096)
    module = Embedding(parts.qwen.get_input_embeddings()).eval()
    return TorchComponent(module, {"input_ids": ids}, {"input_ids": {1: text}}, ("text_embeds",))


def _arr(parts: ArrCoc) -> TorchComponent:
    config = parts.config
    random = torch.Generator().manual_seed(1)
    inputs = {
        "image": torch.rand(1, 3, config.pixels, config.pixels, generator=random),
        "text_embeds": torch.randn(1, _TEXT, config.hidden, generator=random),
    }
    text = DynamicDim("text", 1, 4096)
    return TorchComponent(parts.arr, inputs, {"text_embeds": {1: text}}, ("positions", "relevance"))


def _vision(parts: ArrCoc) -> TorchComponent:
    config = parts.config
    random = torch.Generator().manual_seed(2)
    patches = (config.pixels // config.patch) ** 2
    values = 3 * config.patch**2 * int(config.qwen.vision_config.temporal_patch_size)
    inputs = {
        "pixel_values": torch.randn(patches, values, generator=random),
        "positions": torch.arange(config.kept)[None],
    }
    keep = DynamicDim("keep", 1, config.merged)
    return TorchComponent(parts.vision, inputs, {"positions": {1: keep}}, ("visual_embeds", "deepstack"))
