"""Networks that no package draws, written out from their papers; parameter counts tell how close they are."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.packaged import image

if TYPE_CHECKING:
    from collections.abc import Callable

    Made = tuple[nn.Module, tuple[torch.Tensor, ...]]


def conv(inputs: int, outputs: int, kernel: int = 3, stride: int = 1, group: int = 1) -> nn.Conv2d:
    """A convolution that keeps the size (at stride 1)."""
    return nn.Conv2d(inputs, outputs, kernel, stride, kernel // 2, groups=group, bias=False)


def block(
    inputs: int, outputs: int, kernel: int = 3, stride: int = 1, act: type[nn.Module] = nn.ReLU
) -> nn.Sequential:
    """Convolution, batch norm, activation."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs), act())


def plain(widths: list[int], act: type[nn.Module], shuffle: int) -> Callable[[], Made]:
    """A straight super-resolution network (QuickSRNet, SRVGG): convolutions, then depth to space."""

    def build() -> Made:
        layers: list[nn.Module] = []
        for before, after in zip([3, *widths[:-1]], widths, strict=True):
            layers += [nn.Conv2d(before, after, 3, padding=1), act()]
        return nn.Sequential(*layers[:-1], nn.PixelShuffle(shuffle)), (image(128),)

    return build


def expanded(inputs: int, outputs: int, kernel: int) -> nn.Sequential:
    """SESR's linear block as it is trained: up to 256 channels and back."""
    return nn.Sequential(nn.Conv2d(inputs, 256, kernel, padding=kernel // 2), nn.Conv2d(256, outputs, 1))


class Sesr(nn.Module):
    """SESR-M as AI Hub runs it, its linear blocks not collapsed: 5x5, `middle` 3x3 with skips, 5x5."""

    def __init__(self, width: int, middle: int, scale: int) -> None:
        super().__init__()
        self.first = expanded(3, width, 5)
        self.middle = nn.ModuleList(expanded(width, width, 3) for _ in range(middle))
        self.last = expanded(width, 3 * scale**2, 5)
        self.shuffle = nn.PixelShuffle(scale)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 3, scale h, scale w]."""
        first = hidden = torch.relu(self.first(x))
        for layer in self.middle:
            hidden = torch.relu(layer(hidden) + hidden)
        return self.shuffle(self.last(hidden + first))


class Excite(nn.Module):
    """Squeeze and excitation."""

    def __init__(self, width: int, ratio: int = 16) -> None:
        super().__init__()
        self.down, self.up = nn.Conv2d(width, width // ratio, 1), nn.Conv2d(width // ratio, width, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The input scaled by channel."""
        return x * torch.sigmoid(self.up(torch.relu(self.down(functional.adaptive_avg_pool2d(x, 1)))))


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
            x = functional.interpolate(x, size=kept[level].shape[2:], mode="bilinear")
            x = join(torch.cat([x, kept[level]], 1))
        return self.head(x).permute(0, 2, 3, 1), x


class Aot(nn.Module):
    """An AOT block: four dilated branches, a fusion and a gate."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.branches = nn.ModuleList(
            nn.Sequential(nn.ReflectionPad2d(rate), nn.Conv2d(width, width // 4, 3, dilation=rate), nn.ReLU())
            for rate in (1, 2, 4, 8)
        )
        self.fuse = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3))
        self.gate = nn.Sequential(nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input and fusion mixed by the gate."""
        fused = self.fuse(torch.cat([branch(x) for branch in self.branches], 1))
        gate = self.gate(x)
        mean, deviation = gate.mean((2, 3), keepdim=True), gate.std((2, 3), keepdim=True)
        mask = torch.sigmoid(5 * (2 * (gate - mean) / (deviation + 1e-9) - 1))
        return x * (1 - mask) + fused * mask


class AotGan(nn.Module):
    """AOT-GAN's generator on a picture and its mask."""

    def __init__(self) -> None:
        super().__init__()
        self.down = nn.Sequential(
            nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.ReLU(), nn.Conv2d(64, 128, 4, 2, 1), nn.ReLU(),
            nn.Conv2d(128, 256, 4, 2, 1), nn.ReLU(),
        )  # fmt: skip
        self.middle = nn.Sequential(*(Aot(256) for _ in range(8)))
        self.up = nn.Sequential(
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(256, 128, 3, 1, 1), nn.ReLU(),
            nn.Upsample(scale_factor=2, mode="bilinear"), nn.Conv2d(128, 64, 3, 1, 1), nn.ReLU(),
            nn.Conv2d(64, 3, 3, 1, 1),
        )  # fmt: skip

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The picture with its hole filled."""
        painted = torch.tanh(self.up(self.middle(self.down(torch.cat([x * (1 - mask) + mask, mask], 1)))))
        return x * (1 - mask) + painted * mask


class Resblock(nn.Module):
    """Two reflected 3x3 convolutions and a skip."""

    def __init__(self, width: int, rate: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.ReflectionPad2d(rate), nn.Conv2d(width, width, 3, dilation=rate),
            nn.BatchNorm2d(width), nn.ReLU(),
            nn.ReflectionPad2d(1), nn.Conv2d(width, width, 3), nn.BatchNorm2d(width),
        )  # fmt: skip

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Input plus body."""
        return x + self.body(x)


class Lama(nn.Module):
    """LaMa with dilated residual blocks instead of Fourier convolutions."""

    def __init__(self) -> None:
        super().__init__()
        layers: list[nn.Module] = [nn.ReflectionPad2d(3), nn.Conv2d(4, 64, 7), nn.BatchNorm2d(64), nn.ReLU()]
        for width in (64, 128, 256):
            layers += [nn.Conv2d(width, 2 * width, 3, 2, 1), nn.BatchNorm2d(2 * width), nn.ReLU()]
        layers += [Resblock(512, rate) for rate in (1, 2, 4, 8, 1, 2, 4, 8, 1)]
        for width in (512, 256, 128):
            layers += [
                nn.ConvTranspose2d(width, width // 2, 3, 2, 1, 1),
                nn.BatchNorm2d(width // 2),
                nn.ReLU(),
            ]
        layers += [nn.ReflectionPad2d(3), nn.Conv2d(64, 3, 7), nn.Sigmoid()]
        self.body = nn.Sequential(*layers)

    def forward(self, x: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """The picture with its hole filled."""
        return mask * self.body(torch.cat([x * (1 - mask), mask], 1)) + (1 - mask) * x


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
        self.head = nn.Sequential(block(304, 256), nn.Conv2d(256, 21, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Scores of 21 classes at the size of the picture."""
        low, high = self.body(x)
        pooled = self.pooled(functional.adaptive_avg_pool2d(high, 1)).expand(-1, -1, *high.shape[2:])
        high = self.project(torch.cat([*(layer(high) for layer in self.rates), pooled], 1))
        high = functional.interpolate(high, size=low.shape[2:], mode="bilinear")
        scores = self.head(torch.cat([self.low(low), high], 1))
        return functional.interpolate(scores, size=x.shape[2:], mode="bilinear")


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
        size = maps[0].shape[2:]
        same = [functional.interpolate(level, size=size, mode="bilinear") for level in maps[1:]]
        return self.head(torch.cat([maps[0], *same], 1))


class Proposals(nn.Module):
    """Faster R-CNN C4's backbone up to res4 and its region proposal head, without the selection."""

    def __init__(self) -> None:
        super().__init__()
        from torchvision.models import resnet50

        body = resnet50(weights=None)
        self.body = nn.Sequential(
            body.conv1, body.bn1, body.relu, body.maxpool, body.layer1, body.layer2, body.layer3
        )
        self.shared = nn.Conv2d(1024, 1024, 3, padding=1)
        self.scores, self.boxes = nn.Conv2d(1024, 15, 1), nn.Conv2d(1024, 60, 1)

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Features, scores and boxes."""
        features = self.body(x)
        hidden = torch.relu(self.shared(features))
        return features, self.scores(hidden), self.boxes(hidden)


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


def simple(make: Callable[[], nn.Module], *samples: torch.Tensor) -> Callable[[], Made]:
    """A module and its inputs."""
    return lambda: (make(), samples)


MASK = torch.zeros(1, 1, 512, 512)
MODELS: dict[str, Callable[[], Made]] = {
    "quicksrnetmedium": plain([32] * 6 + [27], nn.ReLU, 3),
    "quicksrnetlarge": plain([64] * 12 + [27], nn.ReLU, 3),
    "real_esrgan_general_x4v3": plain([64] * 33 + [48], nn.PReLU, 4),
    "sesr_m5": simple(lambda: Sesr(16, 5, 3), image(128)),
    "cavaface": _cavaface,
    "yamnet": _yamnet,
    "posenet_mobilenet": simple(Posenet, image((513, 257))),
    "easyocr/EasyOCRDetector": simple(Craft, image((608, 800))),
    "aotgan": simple(AotGan, image(512), MASK),
    "lama_dilated": simple(Lama, image(512), MASK),
    "deeplabv3_plus_mobilenet": simple(Deeplab, image(513)),
    "midas": simple(Midas, image(256)),
    "hrnet_pose": simple(lambda: HrnetPose("hrnet_w32", 32, 17), image((256, 192))),
    "hrnet_face": simple(HrnetFace, image(256)),
    "detectron2_detection/Detectron2ProposalGenerator": simple(Proposals, image(800)),
    "yolox": simple(Yolox, image(640)),
}
