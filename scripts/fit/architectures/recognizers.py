"""Networks that recognise faces, poses and sounds, from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.blocks import Excite, block, conv, grow, image, normalized, simple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


class FaceBlock(nn.Module):
    """An IR-SE block: norm, 3x3, PReLU, 3x3 (stride), norm, excitation, plus a shortcut."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.BatchNorm2d(inputs), conv(inputs, outputs), nn.PReLU(outputs),
            conv(outputs, outputs, 3, stride),
            nn.BatchNorm2d(outputs), Excite(outputs),
        )  # fmt: skip
        same = nn.MaxPool2d(1, stride)
        self.short = (
            same
            if inputs == outputs
            else nn.Sequential(conv(inputs, outputs, 1, stride), nn.BatchNorm2d(outputs))
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Body plus shortcut."""
        return self.body(x) + self.short(x)


def _cavaface() -> Made:
    layers: list[nn.Module] = [conv(3, 64), nn.BatchNorm2d(64), nn.PReLU(64)]
    width = 64
    for outputs, count in ((64, 3), (128, 13), (256, 30), (512, 3)):
        for index in range(count):
            layers.append(FaceBlock(width, outputs, 2 if index == 0 else 1))
            width = outputs
    layers += [nn.BatchNorm2d(512), nn.Flatten(), nn.Linear(512 * 49, 512)]
    return nn.Sequential(*layers), (image(112),)


def mobilenet(
    start: int, plan: list[tuple[int, int]], act: type[nn.Module], channels: int = 3
) -> nn.Sequential:
    """MobileNet v1: a strided 3x3, then depthwise and pointwise pairs of (width, stride)."""
    layers: list[nn.Module] = [block(channels, start, 3, 2, act)]
    for width, stride in plan:
        layers += [
            nn.Sequential(conv(start, start, 3, stride, start), nn.BatchNorm2d(start), act()),
            block(start, width, 1, 1, act),
        ]
        start = width
    return nn.Sequential(*layers)


_V1 = [(64, 1), (128, 2), (128, 1), (256, 2), (256, 1), (512, 2), *[(512, 1)] * 5, (1024, 2), (1024, 1)]


def _yamnet() -> Made:
    body = mobilenet(32, _V1, nn.ReLU, channels=1)
    head = nn.Sequential(nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(1024, 521), nn.Sigmoid())
    return nn.Sequential(body, head), (torch.zeros(1, 1, 96, 64),)


class Posenet(nn.Module):
    """PoseNet on MobileNet v1 at output stride 16: heat maps, offsets and two displacements."""

    def __init__(self) -> None:
        super().__init__()
        self.body = mobilenet(32, [*_V1[:11], (1024, 1), (1024, 1)], nn.ReLU6)
        self.heads = nn.ModuleList(nn.Conv2d(1024, width, 1) for width in (17, 34, 32, 32))

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Four maps and the maxima of the first."""
        hidden = self.body(x)
        maps = [head(hidden) for head in self.heads]
        heat = torch.sigmoid(maps[0])
        return heat, *maps[1:], functional.max_pool2d(heat, 3, 1, 1)


class HrnetPose(nn.Module):
    """HRNet-W32's finest map and a 1x1 head, on 256 x 192."""

    def __init__(self, name: str, width: int, joints: int) -> None:
        super().__init__()
        import timm

        self.body = timm.create_model(
            name, features_only=True, pretrained=False, feature_location="", out_indices=(1,)
        )
        self.head = nn.Conv2d(width, joints, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Heat maps at a quarter of the size."""
        return self.head(self.body(x)[0])


class HrnetFace(nn.Module):
    """HRNetV2-W18 for faces: all four maps at the finest size, a mixing layer and 29 heat maps."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        words = {"features_only": True, "pretrained": False, "feature_location": ""}
        self.body = timm.create_model("hrnet_w18", out_indices=(1, 2, 3, 4), **words)
        width = sum(self.body.feature_info.channels())
        self.head = nn.Sequential(block(width, width, 1), nn.Conv2d(width, 29, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Heat maps at a quarter of the size."""
        maps = self.body(x)
        same = [grow(level, maps[0]) for level in maps[1:]]
        return self.head(torch.cat([maps[0], *same], 1))


MODELS: dict[str, Callable[[], Made]] = {
    "cavaface": normalized(_cavaface),
    "yamnet": _yamnet,
    "posenet_mobilenet": normalized(simple(Posenet, image((513, 257)))),
    "hrnet_pose": normalized(simple(lambda: HrnetPose("hrnet_w32", 32, 17), image((256, 192)))),
    "hrnet_face": normalized(simple(HrnetFace, image(256))),
}
