"""Detectors of text and objects (CRAFT, Faster R-CNN, YOLOX), from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.blocks import block, grow, image, normalized, simple

if TYPE_CHECKING:
    from collections.abc import Callable

    from scripts.fit.architectures.blocks import Made


class Craft(nn.Module):
    """EasyOCR's detector: VGG16 with batch norm, a dilated bottom and four upward joins."""

    def __init__(self) -> None:
        super().__init__()
        pool = nn.MaxPool2d(2)
        self.stages = nn.ModuleList(
            [
                nn.Sequential(block(3, 64), block(64, 64), pool, block(64, 128), block(128, 128)),
                nn.Sequential(pool, block(128, 256), block(256, 256)),
                nn.Sequential(block(256, 256), pool, block(256, 512), block(512, 512)),
                nn.Sequential(block(512, 512), pool, block(512, 512), block(512, 512)),
                nn.Sequential(
                    nn.MaxPool2d(3, 1, 1),
                    nn.Conv2d(512, 1024, 3, padding=6, dilation=6),
                    nn.Conv2d(1024, 1024, 1),
                ),
            ]
        )
        widths = ((1024, 512, 512, 256), (256, 512, 256, 128), (128, 256, 128, 64), (64, 128, 64, 32))
        self.joins = nn.ModuleList(nn.Sequential(block(a + b, m, 1), block(m, o)) for a, b, m, o in widths)
        self.head = nn.Sequential(
            block(32, 32), block(32, 32), block(32, 16), nn.Conv2d(16, 16, 1), nn.ReLU(), nn.Conv2d(16, 2, 1)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """Scores at half the size, and the features they come from."""
        kept = []
        for stage in self.stages:
            x = stage(x)
            kept.append(x)
        for level, join in zip((3, 2, 1, 0), self.joins, strict=True):
            x = grow(x, kept[level])
            x = join(torch.cat([x, kept[level]], 1))
        return self.head(x).permute(0, 2, 3, 1), x


class Proposals(nn.Module):
    """Faster R-CNN C4's backbone up to res4 and its region proposals, without the selection."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        body = resnet50(weights=None)
        self.body = nn.Sequential(
            body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2, body.layer3
        )
        self.shared = nn.Conv2d(1024, 1024, 3, padding=1)
        self.scores, self.boxes = nn.Conv2d(1024, 15, 1), nn.Conv2d(1024, 60, 1)
        self.register_buffer("places", torch.ones(50 * 50 * 15, 4))  # of anchors: two centres, width, height

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """[1, 3, 800, 800] -> features [1, 1024, 50, 50], boxes [37500, 4] and scores [1, 37500]."""
        features = self.body(x)
        hidden = torch.relu(self.shared(features))
        changes = self.boxes(hidden).reshape(1, 15, 4, 50, 50).permute(0, 3, 4, 1, 2).reshape(-1, 4)
        scores = self.scores(hidden).permute(0, 2, 3, 1).flatten(1)
        return features, self._corners(changes), scores

    def _corners(self, changes: torch.Tensor) -> torch.Tensor:
        """Each anchor moved and stretched, column by column."""
        across, down, wide, high = (self.places[:, at, None] for at in range(4))
        middles = changes[:, 0::4] * wide + across, changes[:, 1::4] * high + down
        most = 4.135  # the log of the largest stretch
        grown = (torch.exp(changes[:, at::4].clamp(max=most)) for at in (2, 3))
        sizes = [size * old for size, old in zip(grown, (wide, high), strict=True)]
        low = [middle - size / 2 for middle, size in zip(middles, sizes, strict=True)]
        top = [middle + size / 2 for middle, size in zip(middles, sizes, strict=True)]
        return torch.stack([*low, *top], -1).reshape(-1, 4)


class Csp(nn.Module):
    """YOLOX's cross-stage layer with `count` bottlenecks."""

    def __init__(self, inputs: int, outputs: int, count: int, *, skip: bool = True) -> None:
        super().__init__()
        half, self.skip = outputs // 2, skip
        self.left, self.right = block(inputs, half, 1, 1, nn.SiLU), block(inputs, half, 1, 1, nn.SiLU)
        self.inner = nn.ModuleList(
            nn.Sequential(block(half, half, 1, 1, nn.SiLU), block(half, half, 3, 1, nn.SiLU))
            for _ in range(count)
        )
        self.join = block(2 * half, outputs, 1, 1, nn.SiLU)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, inputs, h, w] -> [1, outputs, h, w]."""
        left = self.left(x)
        for layer in self.inner:
            left = left + layer(left) if self.skip else layer(left)
        return self.join(torch.cat([left, self.right(x)], 1))


def towers(width: int) -> nn.ModuleList:
    """Two 3x3 convolutions a level, three levels."""
    pair = (3, 1, nn.SiLU)
    return nn.ModuleList(
        nn.Sequential(block(width, width, *pair), block(width, width, *pair)) for _ in range(3)
    )


class Yolox(nn.Module):
    """YOLOX-S: CSPDarknet, PAFPN and decoupled heads, boxes left on their grids."""

    def __init__(self, w: int = 32) -> None:
        super().__init__()
        act = nn.SiLU
        self.stem = block(12, w, 3, 1, act)
        self.dark2 = nn.Sequential(block(w, 2 * w, 3, 2, act), Csp(2 * w, 2 * w, 1))
        self.dark3 = nn.Sequential(block(2 * w, 4 * w, 3, 2, act), Csp(4 * w, 4 * w, 3))
        self.dark4 = nn.Sequential(block(4 * w, 8 * w, 3, 2, act), Csp(8 * w, 8 * w, 3))
        self.dark5, self.squeeze = block(8 * w, 16 * w, 3, 2, act), block(16 * w, 8 * w, 1, 1, act)
        self.spread, self.csp5 = block(32 * w, 16 * w, 1, 1, act), Csp(16 * w, 16 * w, 1, skip=False)
        self.lat, self.p4 = block(16 * w, 8 * w, 1, 1, act), Csp(16 * w, 8 * w, 1, skip=False)
        self.red, self.p3 = block(8 * w, 4 * w, 1, 1, act), Csp(8 * w, 4 * w, 1, skip=False)
        self.bu2, self.n3 = block(4 * w, 4 * w, 3, 2, act), Csp(8 * w, 8 * w, 1, skip=False)
        self.bu1, self.n4 = block(8 * w, 8 * w, 3, 2, act), Csp(16 * w, 16 * w, 1, skip=False)
        self.stems = nn.ModuleList(block(k * w, 4 * w, 1, 1, act) for k in (4, 8, 16))
        self.classes, self.boxes = towers(4 * w), towers(4 * w)
        self.heads = nn.ModuleList(
            nn.ModuleList(nn.Conv2d(4 * w, k, 1) for k in (80, 4, 1)) for _ in range(3)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, anchors, 85]."""
        x = self.stem(torch.cat([x[..., i::2, j::2] for j in (0, 1) for i in (0, 1)], 1))
        c3 = self.dark3(self.dark2(x))
        c4 = self.dark4(c3)
        c5 = self.squeeze(self.dark5(c4))
        pools = [functional.max_pool2d(c5, k, 1, k // 2) for k in (5, 9, 13)]
        c5 = self.csp5(self.spread(torch.cat([c5, *pools], 1)))
        top = self.lat(c5)
        p4 = self.p4(torch.cat([functional.interpolate(top, scale_factor=2.0), c4], 1))
        low = self.red(p4)
        p3 = self.p3(torch.cat([functional.interpolate(low, scale_factor=2.0), c3], 1))
        n3 = self.n3(torch.cat([self.bu2(p3), low], 1))
        n4 = self.n4(torch.cat([self.bu1(n3), top], 1))
        made = []
        for level, maps in enumerate((p3, n3, n4)):
            hidden = self.stems[level](maps)
            scores, boxes = self.classes[level](hidden), self.boxes[level](hidden)
            score, box, one = self.heads[level]
            parts = torch.cat([box(boxes), torch.sigmoid(one(boxes)), torch.sigmoid(score(scores))], 1)
            made.append(parts.flatten(2))
        return torch.cat(made, 2).permute(0, 2, 1)


MODELS: dict[str, Callable[[], Made]] = {
    "easyocr/EasyOCRDetector": normalized(simple(Craft, image((608, 800)))),
    "detectron2_detection/Detectron2ProposalGenerator": normalized(simple(Proposals, image(800))),
    "yolox": simple(Yolox, image(640)),
}
