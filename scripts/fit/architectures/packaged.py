"""Vision models that torchvision and timm draw, with random weights."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from scripts.fit.architectures.blocks import Labelled, image, normalized

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


_KEPT: list[object] = []


def stub_torchvision() -> None:
    """Define the compiled ops that torchvision registers shapes for: its own binary wants another torch."""
    library = torch.library.Library("torchvision", "DEF")
    for name in ("nms", "qnms"):
        library.define(f"{name}(Tensor dets, Tensor scores, float iou_threshold) -> Tensor")
    for name in ("roi_align", "ps_roi_align", "roi_pool", "ps_roi_pool", "qroi_align", "deform_conv2d"):
        library.define(f"{name}(Tensor x) -> Tensor")  # registered at import, never called here
        library.define(f"_{name}_backward(Tensor x) -> Tensor")
    _KEPT.append(library)  # ops live as long as it


def from_torchvision(name: str, sample: torch.Tensor) -> Callable[[], Made]:
    """A classifier of torchvision, or a segmenter that gives labels."""

    def build() -> Made:
        from torchvision.models import get_model

        words = {"weights": None}
        if name in ("googlenet", "inception_v3"):
            words |= {"aux_logits": False, "init_weights": False}
        if name.startswith("fcn"):
            words |= {"weights_backbone": None, "aux_loss": False}
        model = get_model(name, **words)
        return (Labelled(OnlyOut(model)) if name.startswith("fcn") else model), (sample,)

    return build


class OnlyOut(nn.Module):
    """The `out` entry of a dict."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The main output."""
        return self.model(x)["out"]


def from_timm(name: str, sample: torch.Tensor, **words: object) -> Callable[[], Made]:
    """A model of timm."""

    def build() -> Made:
        import timm

        return timm.create_model(name, pretrained=False, exportable=True, **words), (sample,)

    return build


def _clip() -> torch.Tensor:
    return torch.zeros(1, 3, 16, 112, 112)


_PLAIN: dict[str, Callable[[], Made]] = {
    "convnext_base": from_torchvision("convnext_base", image(224)),
    "convnext_tiny": from_torchvision("convnext_tiny", image(224)),
    "densenet121": from_torchvision("densenet121", image(224)),
    "efficientnet_b0": from_torchvision("efficientnet_b0", image(224)),
    "fcn_resnet50": from_torchvision("fcn_resnet50", image(520)),
    "googlenet": from_torchvision("googlenet", image(224)),
    "inception_v3": from_torchvision("inception_v3", image(224)),
    "mnasnet05": from_torchvision("mnasnet0_5", image(224)),
    "mobilenet_v3_large": from_torchvision("mobilenet_v3_large", image(224)),
    "mobilenet_v3_small": from_torchvision("mobilenet_v3_small", image(224)),
    "regnet": from_torchvision("regnet_x_3_2gf", image(224)),
    "regnet_y_800mf": from_torchvision("regnet_y_800mf", image(224)),
    "resnet18": from_torchvision("resnet18", image(224)),
    "resnet50": from_torchvision("resnet50", image(224)),
    "resnet101": from_torchvision("resnet101", image(224)),
    "resnext50": from_torchvision("resnext50_32x4d", image(224)),
    "wideresnet50": from_torchvision("wide_resnet50_2", image(224)),
    "shufflenet_v2": from_torchvision("shufflenet_v2_x0_5", image(224)),
    "resnet_3d": from_torchvision("r3d_18", _clip()),
    "resnet_2plus1d": from_torchvision("r2plus1d_18", _clip()),
    "vit": from_torchvision("vit_b_16", image(224)),
    "dla102x": from_timm("dla102x", image(224)),
    "nasnet": from_timm("nasnetalarge", image(224)),
    "efficientvit_b2_cls": from_timm("efficientvit_b2", image(224)),
    "efficientvit_l2_cls": from_timm("efficientvit_l2", image(224)),
    "sequencer2d": from_timm("sequencer2d_s", image(224)),
}
MODELS = {name: normalized(build) for name, build in _PLAIN.items()}
