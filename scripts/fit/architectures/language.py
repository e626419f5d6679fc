"""Transformers (text, vision, translation) from their configurations, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from scripts.fit.architectures.blocks import image, normalized

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


class Call(nn.Module):
    """A model called by keyword, giving a tuple of its tensors."""

    def __init__(
        self, model: nn.Module, names: tuple[str, ...], take: str | None = None, **fixed: Any
    ) -> None:
        super().__init__()
        self.model, self.names, self.take, self.fixed = model, names, take, fixed

    def forward(self, *values: torch.Tensor) -> torch.Tensor:
        """The first output, or the one that `take` names."""
        made = self.model(**dict(zip(self.names, values, strict=True)), **self.fixed)
        return made[self.take] if self.take else made[0]


def tokens(length: int) -> torch.Tensor:
    """Token ids, [1, length]."""
    return torch.zeros(1, length, dtype=torch.int64)


class MaskedWord(nn.Module):
    """A masked-language model's best word at one place, as AI Hub runs it."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor, place: torch.Tensor) -> torch.Tensor:
        """[1, n] twice and [1] -> [1]."""
        scores = self.model(input_ids=ids, attention_mask=mask).logits
        return scores[torch.arange(1), place].argmax(-1)


class Replaced(nn.Module):
    """Electra's discriminator: 1 for each word that is not the original."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[1, n] twice -> [n]."""
        scores = self.model(input_ids=ids, attention_mask=mask).logits
        return torch.round((torch.sign(scores[0]) + 1) / 2)


def text(kind: str, length: int = 384, **config: Any) -> Callable[[], Made]:
    """A text encoder of transformers with its head for training."""

    def build() -> Made:
        import transformers

        settings = getattr(transformers, f"{kind}Config")(attn_implementation="eager", **config)
        mask = torch.ones(1, length, dtype=torch.int64)
        if kind == "Electra":
            return Replaced(transformers.ElectraForPreTraining(settings)), (tokens(length), mask)
        model = getattr(transformers, f"{kind}ForMaskedLM")(settings)
        return MaskedWord(model), (tokens(length), mask, torch.ones(1, dtype=torch.int64))

    return build


def vision(
    kind: str, head: str, sample: torch.Tensor, take: str | None = None, **config: Any
) -> Callable[[], Made]:
    """A vision model of transformers."""

    def build() -> Made:
        import transformers

        settings = getattr(transformers, f"{kind}Config")(**config)
        settings._attn_implementation = "eager"  # not taken by all as an argument
        model = getattr(transformers, f"{kind}{head}")(settings)
        return Call(model, ("pixel_values",), take), (sample,)

    return build


def _segformer() -> Made:
    import transformers

    settings = transformers.SegformerConfig(num_labels=150, decoder_hidden_size=256)
    return Call(transformers.SegformerForSemanticSegmentation(settings), ("pixel_values",)), (image(512),)


class FramesFirst(nn.Module):
    """A video model that takes [1, frames, 3, h, w], given [1, 3, frames, h, w]."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """What the model makes of it."""
        return self.model(x.transpose(1, 2))


def _video_mae() -> Made:
    import transformers

    model = transformers.VideoMAEForVideoClassification(
        transformers.VideoMAEConfig(num_labels=400, use_mean_pooling=True)
    )
    return FramesFirst(Call(model, ("pixel_values",))), (torch.zeros(1, 3, 16, 224, 224),)


class CachedDecoder(nn.Module):
    """One token through a decoder with self-attention over `past` cached tokens and cross-attention.

    Written out: pre- or post-norm layers of `width`, `heads`, feed-forward of `hidden`, then the vocabulary.
    """

    def __init__(self, layers: int, width: int, heads: int, hidden: int, vocabulary: int) -> None:
        super().__init__()
        self.heads, self.layers = heads, layers
        self.embed = nn.Embedding(vocabulary, width)
        self.projections = nn.ModuleList(nn.Linear(width, width) for _ in range(6 * layers))
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(3 * layers + 1))
        self.up = nn.ModuleList(nn.Linear(width, hidden) for _ in range(layers))
        self.down = nn.ModuleList(nn.Linear(hidden, width) for _ in range(layers))
        self.head = nn.Linear(width, vocabulary, bias=False)

    def _attend(self, query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
        split = query.reshape(1, 1, self.heads, -1).transpose(1, 2)
        weights = torch.softmax(split @ key.transpose(2, 3), -1)
        return (weights @ value).transpose(1, 2).reshape(1, 1, -1)

    def forward(
        self, token: torch.Tensor, past: torch.Tensor, crossed: torch.Tensor
    ) -> tuple[torch.Tensor, ...]:
        """past: [2 * layers, heads, past, head width]; crossed: the same with the encoder's length."""
        hidden, cache = self.embed(token), []
        for layer in range(self.layers):
            q, k, v, o, cq, co = self.projections[6 * layer : 6 * layer + 6]
            normed = self.norms[3 * layer](hidden)
            new = [p(normed).reshape(1, 1, self.heads, -1).transpose(1, 2) for p in (k, v)]
            key = torch.cat([past[2 * layer][None], new[0]], 2)
            value = torch.cat([past[2 * layer + 1][None], new[1]], 2)
            cache += [key, value]
            hidden = hidden + o(self._attend(q(normed), key, value))
            normed = self.norms[3 * layer + 1](hidden)
            hidden = hidden + co(
                self._attend(cq(normed), crossed[2 * layer][None], crossed[2 * layer + 1][None])
            )
            normed = self.norms[3 * layer + 2](hidden)
            hidden = hidden + self.down[layer](torch.relu(self.up[layer](normed)))
        return (self.head(self.norms[-1](hidden)), *cache)


def decoder(layers: int, width: int, vocabulary: int, past: int, crossed: int) -> Callable[[], Made]:
    """A cached decoder of these sizes: heads of 64, the feed-forward four times as wide."""

    def build() -> Made:
        heads = width // 64
        model = CachedDecoder(layers, width, heads, 4 * width, vocabulary)
        shape = (2 * layers, heads, past, width // heads)
        crossing = (2 * layers, heads, crossed, width // heads)
        return model, (tokens(1), torch.zeros(shape), torch.zeros(crossing))

    return build


def _marian_encoder() -> Made:
    import transformers

    config = transformers.MarianConfig(
        vocab_size=65001, d_model=512, encoder_layers=6, decoder_layers=6, encoder_attention_heads=8,
        decoder_attention_heads=8, encoder_ffn_dim=2048, decoder_ffn_dim=2048, pad_token_id=65000,
        decoder_start_token_id=65000, max_position_embeddings=512, attn_implementation="eager",
    )  # fmt: skip
    model = transformers.MarianModel(config)
    return Call(model.get_encoder(), ("input_ids", "attention_mask")), (tokens(256), torch.ones(1, 256))


def _clip() -> Made:
    import transformers

    settings = transformers.CLIPConfig(
        vision_config={"patch_size": 16, "attn_implementation": "eager"},
        text_config={"hidden_size": 512, "num_hidden_layers": 12, "num_attention_heads": 8},
        attn_implementation="eager",
    )
    model = transformers.CLIPModel(settings)
    return Call(model, ("input_ids", "pixel_values")), (tokens(77), image(224))


MODELS: dict[str, Callable[[], Made]] = {
    "bert_base_uncased_hf": text("Bert"),
    "distil_bert_base_uncased_hf": text("DistilBert"),
    "electra_bert_base_discrim_google": text(
        "Electra", embedding_size=768, hidden_size=768, num_attention_heads=12, intermediate_size=3072
    ),
    "mobile_bert_uncased_google": text("MobileBert"),
    "beit": vision(
        "Beit", "ForImageClassification", image(224), num_labels=1000, use_relative_position_bias=True
    ),
    "levit": normalized(
        vision(
            "Levit", "ForImageClassification", image(224), hidden_sizes=[128, 256, 384],
            num_attention_heads=[4, 6, 8], depths=[2, 3, 4], key_dim=[16, 16, 16],
        )
    ),
    "mobile_vit": vision("MobileViT", "ForImageClassification", image(256), num_labels=1000),
    "segformer_base": normalized(_segformer),
    "video_mae": normalized(_video_mae),
    "openai_clip": _clip,
    "opus_mt_en_zh/OpusMTEncoder": _marian_encoder,
    "opus_mt_es_en/OpusMTEncoder": _marian_encoder,
    "opus_mt_en_zh/OpusMTDecoder": decoder(6, 512, 65001, 255, 256),
    "opus_mt_es_en/OpusMTDecoder": decoder(6, 512, 65001, 255, 256),
}  # fmt: skip
