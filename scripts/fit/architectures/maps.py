"""A depth estimator and a segmenter on packaged backbones (MiDaS, DeepLabV3+)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.blocks import Labelled, block, grow, image, normalized, simple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


def refinement(width: int) -> nn.Sequential:
    """RefineNet's residual unit."""
    first, second = (nn.Conv2d(width, width, 3, padding=1) for _ in range(2))
    return nn.Sequential(nn.ReLU(), first, nn.ReLU(), second)


class Midas(nn.Module):
    """MiDaS small: EfficientNet-Lite3 and a RefineNet decoder of 64 to 512 channels."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.body = timm.create_model(
            "tf_efficientnet_lite3", features_only=True, pretrained=False, out_indices=(1, 2, 3, 4)
        )
        widths = (64, 128, 256, 512)
        self.scratch = nn.ModuleList(
            nn.Conv2d(a, b, 3, padding=1, bias=False)
            for a, b in zip(self.body.feature_info.channels(), widths, strict=True)
        )
        self.lateral = nn.ModuleList(refinement(w) for w in widths)
        self.refine = nn.ModuleList(refinement(w) for w in widths)
        self.out = nn.ModuleList(nn.Conv2d(w, max(w // 2, 64), 1) for w in widths)
        self.head = nn.Sequential(
            nn.Conv2d(64, 32, 3, padding=1), nn.Upsample(scale_factor=2, mode="bilinear"),
            nn.Conv2d(32, 32, 3, padding=1),
            nn.ReLU(), nn.Conv2d(32, 1, 1), nn.ReLU(),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Inverse depth, [1, 1, h, w]."""
        maps = [layer(level) for layer, level in zip(self.scratch, self.body(x), strict=True)]
        path = maps[3] + self.refine[3](maps[3])
        path = self.out[3](functional.interpolate(path, scale_factor=2, mode="bilinear"))
        for level in (2, 1, 0):
            path = path + maps[level] + self.lateral[level](maps[level])
            path = path + self.refine[level](path)
            path = self.out[level](functional.interpolate(path, scale_factor=2, mode="bilinear"))
        return self.head(path)


class Deeplab(nn.Module):
    """DeepLabV3+ on MobileNet v2 at output stride 16, with full convolutions."""

    def __init__(self) -> None:
        super().__init__()
        import timm

        self.body = timm.create_model(
            "mobilenetv2_100", features_only=True, pretrained=False, output_stride=16, out_indices=(1, 4)
        )
        self.rates = nn.ModuleList([block(320, 256, 1)])
        for rate in (6, 12, 18):
            spread = nn.Conv2d(320, 256, 3, padding=rate, dilation=rate, bias=False)
            self.rates.append(nn.Sequential(spread, nn.BatchNorm2d(256), nn.ReLU()))
        self.pooled, self.project, self.low = block(320, 256, 1), block(1280, 256, 1), block(24, 48, 1)
        self.head = nn.Sequential(block(304, 256), block(256, 256), nn.Conv2d(256, 21, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of 21 classes at the size of the picture."""
        low, high = self.body(x)
        pooled = self.pooled(functional.adaptive_avg_pool2d(high, 1)).expand(-1, -1, *high.shape[2:])
        high = self.project(torch.cat([*(layer(high) for layer in self.rates), pooled], 1))
        high = grow(high, low)
        scores = self.head(torch.cat([self.low(low), high], 1))
        return grow(scores, x)


MODELS: dict[str, Callable[[], Made]] = {
    "deeplabv3_plus_mobilenet": normalized(simple(lambda: Labelled(Deeplab()), image(520))),
    "midas": normalized(simple(Midas, image(256))),
}
