"""One pass of a transformers decoder as a plain module: its KV cache goes in and comes out as tensors."""

from __future__ import annotations

from copy import copy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Literal

import torch
from transformers import AttentionInterface
from transformers.cache_utils import Cache

from edgekit.errors import ModelError, SourceError
from edgekit.sources.rotary import replace_rotary

if TYPE_CHECKING:
    from collections.abc import Sequence

ATTENTION = "edgekit_grouped"
# Added to the scores of keys that a query may not see: exp of it is 0, and float16 holds it.
MASKED = -30000.0
# Arguments of transformers' attention functions that change nothing while they have these values.
_NEUTRAL = (None, 0, 0.0, False)
_PASSED_OVER = frozenset(
    ("position_ids", "cache_position", "use_cache", "is_causal", "output_attentions", "output_hidden_states")
)


@dataclass(frozen=True)
class DecoderParts:
    """A decoder's embedding, body and head, and the sizes of its cache: layers, KV heads, head size."""

    embed: torch.nn.Module
    body: torch.nn.Module
    head: torch.nn.Module
    layers: int
    heads: int
    head_dim: int
    position_axes: int
    longest: int


def find_parts(module: torch.nn.Module) -> DecoderParts:
    """The parts of a causal language model of transformers; SourceError for one that has other ones."""
    whole: Any = module
    body, embed, head = whole.get_decoder(), whole.get_input_embeddings(), whole.get_output_embeddings()
    config = body.config
    kinds = set(getattr(config, "layer_types", None) or ["full_attention"])
    if kinds != {"full_attention"} or (config.__dict__.get("use_sliding_window") and config.sliding_window):
        raise SourceError(
            f"{type(module).__name__} mixes kinds of layers ({', '.join(sorted(kinds))})",
            fix="only decoders whose layers all see the whole cache are exported; give it as "
            "package.module:factory with a cache of your own",
        )
    if head is None or embed is None:
        raise SourceError(f"{type(module).__name__} has no language head", fix="give a ...ForCausalLM model")
    attention_heads = int(config.num_attention_heads)
    rope = getattr(config, "rope_scaling", None) or {}
    return DecoderParts(
        embed=embed,
        body=body,
        head=head,
        layers=int(config.num_hidden_layers),
        heads=int(getattr(config, "num_key_value_heads", None) or attention_heads),
        head_dim=int(getattr(config, "head_dim", None) or config.hidden_size // attention_heads),
        position_axes=3 if "mrope_section" in rope else 1,
        longest=int(config.max_position_embeddings),
    )


def find_layers(parts: DecoderParts) -> str | None:
    """The name of the body's list of layers; None where no list, or more than one, has their number."""
    lists = [
        name
        for name, child in parts.body.named_children()
        if isinstance(child, torch.nn.ModuleList) and len(child) == parts.layers
    ]
    return lists[0] if len(lists) == 1 else None


def shorten(parts: DecoderParts, name: str, count: int) -> DecoderParts:
    """The decoder with its first layers only, of which `name` is the list: the same modules, not copies."""
    body: Any = copy(parts.body)
    layers: Any = getattr(body, name)
    body._modules = {**body._modules, name: torch.nn.ModuleList(list(layers)[:count])}
    body.config = copy(body.config)
    body.config.num_hidden_layers = count
    return replace(parts, body=body, layers=count)


def grouped_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor,
    **rest: Any,
) -> tuple[torch.Tensor, None]:
    """Softmax(query key' * scaling + mask) value, the queries of a KV head side by side, no key repeated.

    query [1, heads, length, size], key and value [1, KV heads, keys, size], mask [1, 1, length, keys];
    returns [1, length, heads, size]. Only matrix products of two 4-D tensors, Add and Softmax are left.
    """
    scaling = rest.pop("scaling", None)
    for name, given in rest.items():
        if name not in _PASSED_OVER and not any(given is one or given == one for one in _NEUTRAL):
            raise ModelError(
                f"attention of {type(module).__name__} asks for {name}={given!r}",
                fix="give the model as package.module:factory with attention written out",
            )
    heads, length, size = query.shape[1:]
    groups = key.shape[1]
    share = heads // groups
    factor = size**-0.5 if scaling is None else scaling
    # Three dims fold into one row axis, so the mask is repeated for the query heads of a group.
    scores = (query.reshape(1, groups, share * length, size) @ key.transpose(2, 3)) * factor
    mask = attention_mask if length == 1 else attention_mask.repeat(1, 1, share, 1)
    weights = torch.softmax(scores + mask, -1)
    return (weights @ value).reshape(1, heads, length, size).transpose(1, 2), None


AttentionInterface.register(ATTENTION, grouped_attention)


class _TensorCache(Cache):
    """What a decoder's layers ask of a cache, on tensors that are given; it keeps what is new."""

    def __init__(self, keys: Sequence[torch.Tensor], values: Sequence[torch.Tensor]) -> None:
        self.keys, self.values = keys, values
        self.new_keys: list[torch.Tensor] = []
        self.new_values: list[torch.Tensor] = []

    def update(
        self,
        key_states: torch.Tensor,
        value_states: torch.Tensor,
        layer_idx: int,
        cache_kwargs: dict[str, Any] | None = None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        del cache_kwargs  # positions of rotary embedding: the layer has applied them
        self.new_keys.append(key_states)
        self.new_values.append(value_states)
        if not self.keys:
            return key_states, value_states
        key = torch.cat((self.keys[layer_idx], key_states), 2)
        return key, torch.cat((self.values[layer_idx], value_states), 2)

    def get_seq_length(self, layer_idx: int = 0) -> int:
        del layer_idx  # all layers hold the same places
        return int(self.keys[0].shape[2]) if self.keys else 0


class DecoderStep(torch.nn.Module):
    """Tokens or embeddings, positions and the cache so far -> logits of a token, new keys and values."""

    def __init__(self, parts: DecoderParts, first: Literal["ids", "embeds"], deepstack: int) -> None:
        super().__init__()
        self.body, self.head = parts.body, parts.head
        self.embed = parts.embed if first == "ids" else None
        self.deepstack = deepstack
        config: Any = parts.body.config
        config._attn_implementation = ATTENTION
        replace_rotary(parts.body, parts.position_axes)

    def run(
        self,
        hidden: torch.Tensor,
        position_ids: torch.Tensor,
        past: tuple[Sequence[torch.Tensor], Sequence[torch.Tensor]],
        visible: torch.Tensor | None,
        features: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        """Hidden states [1, n, size] through the layers; `visible` [past]: keys that are filled."""
        count = hidden.shape[1]
        places = torch.arange(count)
        seen = places[None, :] <= places[:, None]
        if visible is not None:
            seen = torch.cat((visible[None, :], seen), 1)
        mask = torch.where(seen, 0.0, MASKED)[None, None].to(hidden.dtype)
        cache = _TensorCache(*past)
        handles = self._add_features(features)
        out = self.body(
            inputs_embeds=hidden,
            attention_mask=mask,
            position_ids=position_ids,
            past_key_values=cache,
            use_cache=True,
            cache_position=places,
        )
        for handle in handles:
            handle.remove()
        return out.last_hidden_state, cache.new_keys, cache.new_values

    def _add_features(self, features: torch.Tensor | None) -> list[Any]:
        """DeepStack: features [layers, 1, n, size], 0 where no image is, added behind the first layers."""
        if features is None:
            return []

        def add(index: int) -> Any:
            return lambda _module, _inputs, output: output + features[index]

        layers: Any = self.body.layers
        return [layers[index].register_forward_hook(add(index)) for index in range(self.deepstack)]


class Prefill(DecoderStep):
    """A whole prompt at once, with no cache before it."""

    def forward(
        self,
        position_ids: torch.Tensor,
        last: torch.Tensor,
        input_ids: torch.Tensor | None = None,
        inputs_embeds: torch.Tensor | None = None,
        deepstack: torch.Tensor | None = None,
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        hidden: Any = inputs_embeds if self.embed is None else self.embed(input_ids)
        hidden, keys, values = self.run(hidden, position_ids, ((), ()), None, deepstack)
        return self.head(hidden.index_select(1, last)), keys, values


class Decode(DecoderStep):
    """One token behind a cache of which `past_length` places are filled."""

    def forward(
        self,
        input_ids: torch.Tensor,
        position_ids: torch.Tensor,
        past_length: torch.Tensor,
        past_key: list[torch.Tensor],
        past_value: list[torch.Tensor],
    ) -> tuple[torch.Tensor, list[torch.Tensor], list[torch.Tensor]]:
        visible = torch.arange(past_key[0].shape[2]) < past_length
        embed: Any = self.embed
        hidden, keys, values = self.run(embed(input_ids), position_ids, (past_key, past_value), visible)
        return self.head(hidden), keys, values
