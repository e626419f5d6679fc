"""A decoder with a KV cache as two components: prefill and one decode step, the same weights in both."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from edgekit.errors import SourceError
from edgekit.sources.repeated_layers import RepeatedLayers
from edgekit.sources.torch_component import DynamicDim, TorchComponent, TorchSource

if TYPE_CHECKING:
    import torch

    from edgekit.sources.decoder_step import DecoderParts

PREFILL, DECODE = "prefill", "decode"
_EXAMPLE = 6  # tokens of the example prompt, and of the example cache
# Sizes of a request that an estimate starts from; a user's own take their place.
_SIZES = {"prompt": 64, "past": 128, "tokens": 64}
# Largest share by which the components may differ from the model's own forward in float32.
_OWN_TOLERANCE = 1e-4


@dataclass(frozen=True)
class DecoderForm:
    """What goes into prefill: token ids or embeddings, and for how many layers DeepStack features."""

    first: Literal["ids", "embeds"] = "ids"
    deepstack: int = 0


def is_decoder(config: Any) -> bool:
    """Whether a config is of a causal language model."""
    names = getattr(config, "architectures", None) or [""]
    return str(names[0]).endswith("ForCausalLM")


def decoder_source(
    module: torch.nn.Module, form: DecoderForm | None = None, *, shape_only: bool = False
) -> TorchSource:
    """Prefill and decode of a causal language model of transformers, proven equal to its own forward.

    prefill: `input_ids` [1, prompt] (or `inputs_embeds` [1, prompt, size]), `position_ids` [1, prompt]
    ([3, 1, prompt] under mrope), `last` [1], the index of the token whose logits are wanted, and
    `deepstack` [layers, 1, prompt, size] where asked for. decode: one token, `past_length` [1] and
    `past_key_<layer>`, `past_value_<layer>` [1, KV heads, past, head size], of which the first
    `past_length` places are read. Both give `logits` [1, 1, vocabulary] and `new_key_<layer>`,
    `new_value_<layer>`, which the app writes behind the past: a cache of a fixed size or one that grows.
    shape_only: the module has no values, so it is not run.
    """
    from edgekit.sources.decoder_step import find_parts

    form = form or DecoderForm()
    parts = find_parts(module)
    scenario = scenario_text(parts, form)
    if shape_only:
        return TorchSource(decoder_components(module, form), scenario, shape_only)
    expected = _own_logits(module, parts)
    components = decoder_components(module, form)
    _check_own(components, expected, parts, form)
    return TorchSource(components, scenario)


def decoder_components(module: torch.nn.Module, form: DecoderForm) -> dict[str, TorchComponent]:
    """The two components with example inputs; see `decoder_source`."""
    from edgekit.sources.decoder_step import find_parts

    return _components(find_parts(module), form)


def _components(parts: DecoderParts, form: DecoderForm) -> dict[str, TorchComponent]:
    import torch

    from edgekit.sources.decoder_step import Decode, Prefill

    prompt = DynamicDim("prompt", 1, parts.longest)
    past = DynamicDim("past", 1, parts.longest)
    random = torch.Generator().manual_seed(0)
    vocabulary, size = _table_shape(parts)
    positions = _positions(parts, range(_EXAMPLE))
    inputs: dict[str, Any] = {"position_ids": positions, "last": torch.tensor([_EXAMPLE - 1])}
    dynamic = {"position_ids": {positions.ndim - 1: prompt}}
    if form.first == "ids":
        inputs = {"input_ids": torch.randint(0, vocabulary, (1, _EXAMPLE), generator=random), **inputs}
        dynamic["input_ids"] = {1: prompt}
    else:
        inputs = {"inputs_embeds": torch.randn(1, _EXAMPLE, size, generator=random), **inputs}
        dynamic["inputs_embeds"] = {1: prompt}
    if form.deepstack:
        inputs["deepstack"] = torch.randn(form.deepstack, 1, _EXAMPLE, size, generator=random)
        dynamic["deepstack"] = {2: prompt}
    outputs = _output_names(parts)
    shape = (1, parts.heads, _EXAMPLE, parts.head_dim)
    cache = [torch.randn(shape, generator=random) for _ in range(2 * parts.layers)]
    step_inputs: dict[str, Any] = {
        "input_ids": torch.randint(0, vocabulary, (1, 1), generator=random),
        "position_ids": _positions(parts, [_EXAMPLE]),
        "past_length": torch.tensor([_EXAMPLE - 1]),
        "past_key": cache[: parts.layers],
        "past_value": cache[parts.layers :],
    }
    prefill = Prefill(parts, form.first, form.deepstack)
    return {
        PREFILL: TorchComponent(
            prefill.eval(), inputs, dynamic, outputs, layers=_layers(parts, form, PREFILL)
        ),
        DECODE: TorchComponent(
            Decode(parts, "ids", 0).eval(),
            step_inputs,
            {"past_key": {2: past}, "past_value": {2: past}},
            outputs,
            layers=_layers(parts, form, DECODE),
        ),
    }


def _layers(parts: DecoderParts, form: DecoderForm, component: str) -> RepeatedLayers | None:
    """The decoder's layers as what a component repeats; None where they are no list of the body's."""
    from edgekit.sources.decoder_step import find_layers, shorten

    name = find_layers(parts)
    if name is None:
        return None
    prefill = component == PREFILL
    return RepeatedLayers(
        count=parts.layers,
        path=f"body.{name}",
        special=form.deepstack if prefill else 0,
        inputs=() if prefill else ("past_key", "past_value"),
        outputs=("new_key", "new_value"),
        shorten=lambda count: _components(shorten(parts, name, count), form)[component],
    )


def scenario_text(parts: DecoderParts, form: DecoderForm) -> str:
    """The scenario.toml of a decoder: one prefill, then a decode step a token."""
    position = "1," if parts.position_axes == 1 else f"{parts.position_axes},1,"
    _, size = _table_shape(parts)
    first = 'input_ids = "1,prompt"' if form.first == "ids" else f'inputs_embeds = "1,prompt,{size}"'
    stack = f', deepstack = "{form.deepstack},1,prompt,{size}"' if form.deepstack else ""
    caches = "".join(
        f'past_{kind}_{layer} = "1,{parts.heads},past,{parts.head_dim}"\n'
        for kind in ("key", "value")
        for layer in range(parts.layers)
    )
    sizes = "".join(f"{name} = {count}\n" for name, count in _SIZES.items())
    return f"""[sizes]
{sizes}
[component.{PREFILL}]
file = "{PREFILL}.onnx"
shape = {{ {first}, position_ids = "{position}prompt"{stack} }}

[component.{DECODE}]
file = "{DECODE}.onnx"
weights_of = "{PREFILL}"
cache = ["past_key_*", "past_value_*"]

[component.{DECODE}.shape]
{caches}
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


def _output_names(parts: DecoderParts) -> tuple[str, ...]:
    return (
        "logits",
        *(f"new_key_{layer}" for layer in range(parts.layers)),
        *(f"new_value_{layer}" for layer in range(parts.layers)),
    )


def _table_shape(parts: DecoderParts) -> tuple[int, int]:
    """Rows and columns of the embedding."""
    table: Any = parts.embed
    return int(table.weight.shape[0]), int(table.weight.shape[1])


def _positions(parts: DecoderParts, places: Any) -> torch.Tensor:
    import torch

    row = torch.tensor(list(places))[None]
    return row if parts.position_axes == 1 else row.expand(parts.position_axes, 1, -1).contiguous()


def _own_logits(module: Any, parts: DecoderParts) -> torch.Tensor:
    """Logits of the model's own forward behind two lengths of one prompt, before anything is changed."""
    import torch

    ids = _prompt(parts)
    with torch.no_grad():
        found: torch.Tensor = module(input_ids=ids, use_cache=False).logits[0, -2:].clone()
    return found


def _prompt(parts: DecoderParts) -> torch.Tensor:
    import torch

    random = torch.Generator().manual_seed(1)
    return torch.randint(0, _table_shape(parts)[0], (1, _EXAMPLE + 1), generator=random)


def _check_own(
    components: dict[str, TorchComponent], expected: torch.Tensor, parts: DecoderParts, form: DecoderForm
) -> None:
    """SourceError where prefill, then a step on a padded cache, gives other logits than the own forward."""
    import torch

    ids = _prompt(parts)
    rest = _EXAMPLE
    embed: Any = parts.embed
    given: dict[str, Any] = {"position_ids": _positions(parts, range(rest)), "last": torch.tensor([rest - 1])}
    with torch.no_grad():
        given |= (
            {"input_ids": ids[:, :rest]} if form.first == "ids" else {"inputs_embeds": embed(ids[:, :rest])}
        )
        first, keys, values = components[PREFILL].module(**given)
        pad = [torch.nn.functional.pad(one, (0, 0, 0, 2), value=1.0) for one in (*keys, *values)]
        second, _, _ = components[DECODE].module(
            input_ids=ids[:, rest:],
            position_ids=_positions(parts, [rest]),
            past_length=torch.tensor([rest]),
            past_key=pad[: parts.layers],
            past_value=pad[parts.layers :],
        )
    got = torch.cat((first[0], second[0]))
    apart = float((got - expected).abs().max() / expected.abs().max().clamp(min=1.0))
    if not apart <= _OWN_TOLERANCE:
        raise SourceError(
            f"the logits of {type(parts.body).__name__} with its cache as tensors differ from its own by "
            f"{apart:.2g} of their range",
            fix="this architecture is not known well enough: give it as package.module:factory",
        )
