"""Street segmenters (FFNet, DDRNet, PIDNet), DETR and a rotary text encoder, from their papers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn
from torch.nn import functional

from scripts.fit.architectures.drawn import block, conv, simple
from scripts.fit.architectures.packaged import image

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    Made = tuple[nn.Module, tuple[torch.Tensor, ...]]

STREET = torch.zeros(1, 3, 1024, 2048)
LOW = torch.zeros(1, 3, 512, 1024)
CLASSES = 19


def normed(inputs: int, outputs: int, kernel: int, stride: int = 1) -> nn.Sequential:
    """Convolution and batch norm."""
    return nn.Sequential(conv(inputs, outputs, kernel, stride), nn.BatchNorm2d(outputs))


def before(inputs: int, outputs: int, kernel: int, group: int = 1) -> nn.Sequential:
    """Batch norm and activation before the convolution."""
    return nn.Sequential(nn.BatchNorm2d(inputs), nn.ReLU(), conv(inputs, outputs, kernel, 1, group))


class Residual(nn.Module):
    """Two 3x3, or 1x1 3x3 1x1 that widen twice (`wide`), and a shortcut; `last` activates the sum."""

    def __init__(
        self, inputs: int, width: int, stride: int = 1, *, wide: bool = False, last: bool = True
    ) -> None:
        super().__init__()
        outputs = 2 * width if wide else width
        if wide:
            layers = [block(inputs, width, 1), block(width, width, 3, stride), normed(width, outputs, 1)]
        else:
            layers = [block(inputs, width, 3, stride), normed(width, outputs, 3)]
        self.body = nn.Sequential(*layers)
        same = stride == 1 and inputs == outputs
        self.short = nn.Identity() if same else normed(inputs, outputs, 1, stride)
        self.last = nn.ReLU() if last else nn.Identity()

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Body plus shortcut."""
        return self.last(self.body(x) + self.short(x))


def stage(inputs: int, width: int, count: int, stride: int = 1, *, last: bool = True) -> nn.Sequential:
    """`count` residual blocks; `last` as the last one's."""
    made = [Residual(inputs, width, stride, last=last if count == 1 else True)]
    made += [Residual(width, width, last=last or index < count - 1) for index in range(1, count)]
    return nn.Sequential(*made)


class Ffnet(nn.Module):
    """A ResNet of basic blocks, lateral 1x1, a path from coarse to fine, and a head on all four joined."""

    def __init__(
        self, stem: nn.Module, stages: Sequence[nn.Module], widths: Sequence[int], head: str
    ) -> None:
        super().__init__()
        self.stem, self.stages = stem, nn.ModuleList(stages)
        lateral = (64, 128, 128, 256) if head == "B" else (128, 128, 128, 128)
        smooth = (96, 96, 64, 32) if head == "B" else (128, 16, 16, 16)
        self.lateral = nn.ModuleList(block(*pair, 1) for pair in zip(widths, lateral, strict=True))
        self.smooth = nn.ModuleList(block(*pair, 3) for pair in zip(lateral, smooth, strict=True))
        self.up = nn.ModuleList(block(lateral[i + 1], lateral[i], 1) for i in range(3))
        middle, kernel = (256, 3) if head == "B" else (128, 1)
        self.head = nn.Sequential(
            block(sum(smooth), middle, kernel), nn.Conv2d(middle, CLASSES, kernel, padding=kernel // 2)
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 4 or h / 8, ...]."""
        x, found = self.stem(x), []
        for part in self.stages:
            x = part(x)
            found.append(x)
        found = [layer(x) for layer, x in zip(self.lateral, found, strict=True)]
        hidden = found[3]
        made = [self.smooth[3](hidden)]
        for level in (2, 1, 0):
            size = found[level].shape[2:]
            hidden = functional.interpolate(self.up[level](hidden), size, mode="nearest") + found[level]
            made.insert(0, self.smooth[level](hidden))
        size = made[0].shape[2:]
        wide = [made[0], *(functional.interpolate(one, size, mode="nearest") for one in made[1:])]
        return self.head(torch.cat(wide, 1))


class Halve(nn.Module):
    """The picture at half its size: AI Hub's low-resolution FFNets take 1024 x 512 and compute on 512 x 256.

    By their speed alone: 74 G MACs in 2 ms would be beyond the NPU's peak.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 3, h / 2, w / 2]."""
        return functional.interpolate(x, scale_factor=0.5, mode="bilinear")


def slim(counts: tuple[int, ...], first: int, head: str, sample: torch.Tensor) -> Callable[[], Made]:
    """FFNet with a slim ResNet; `first` is the first stage's stride."""

    def build() -> Made:
        widths = (64, 128, 192, 320)
        stages = [
            stage(inputs, width, count, stride)
            for inputs, width, count, stride in zip(
                (64, *widths), widths, counts, (first, 2, 2, 2), strict=False
            )
        ]
        low = [Halve()] if sample is LOW else []
        stem = nn.Sequential(*low, block(3, 32, 3, 2), block(32, 64, 3, 2))
        return Ffnet(stem, stages, widths, head), (sample,)

    return build


def narrow(counts: tuple[int, ...], head: str) -> Callable[[], Made]:
    """FFNet with three stages after a stem that is the first."""

    def build() -> Made:
        widths = (64, 64, 128, 256)
        rows = zip(widths, widths[1:], counts, strict=False)
        stages = [block(64, 64, 3), *(stage(inputs, width, count, 2) for inputs, width, count in rows)]
        stem = nn.Sequential(Halve(), block(3, 64, 3, 2), block(64, 64, 3, 2))
        return Ffnet(stem, stages, widths, head), (LOW,)

    return build


def grow(x: torch.Tensor, like: torch.Tensor) -> torch.Tensor:
    """`x` resized to another's height and width."""
    return functional.interpolate(x, like.shape[2:], mode="bilinear")


class Pyramid(nn.Module):
    """Pooled at four scales and whole; `chained`: each goes through its own 3x3 after the last one."""

    def __init__(self, inputs: int, width: int, outputs: int, *, chained: bool) -> None:
        super().__init__()
        pools = [nn.AvgPool2d(size, size // 2, size // 2) for size in (5, 9, 17)]
        self.pools = nn.ModuleList([*pools, nn.AdaptiveAvgPool2d(1)])
        self.scales = nn.ModuleList(before(inputs, width, 1) for _ in range(5))
        self.chained = chained
        count, group = (4, 1) if chained else (1, 4)
        self.process = nn.ModuleList(before(width * group, width * group, 3, group) for _ in range(count))
        self.compress, self.short = before(5 * width, outputs, 1), before(inputs, outputs, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """The same size, `outputs` channels."""
        whole = self.scales[0](x)
        pooled = [grow(scale(pool(x)), x) for pool, scale in zip(self.pools, self.scales[1:], strict=True)]
        made = [whole]
        if self.chained:
            for one, layer in zip(pooled, self.process, strict=True):
                made.append(layer(one + made[-1]))
        else:
            made.append(self.process[0](torch.cat([one + whole for one in pooled], 1)))
        return self.compress(torch.cat(made, 1)) + self.short(x)


def head(inputs: int, middle: int) -> nn.Sequential:
    """Segmentation head: 3x3 to `middle`, 1x1 to classes."""
    return nn.Sequential(
        before(inputs, middle, 3), nn.BatchNorm2d(middle), nn.ReLU(), nn.Conv2d(middle, CLASSES, 1)
    )


class Ddrnet(nn.Module):
    """DDRNet-23-slim: two branches of two resolutions that feed each other."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w, high = width, 2 * width
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1), nn.BatchNorm2d(w), nn.ReLU(), block(w, w, 3, 2))
        self.low1 = nn.Sequential(stage(w, w, 2, last=False), nn.ReLU(), stage(w, 2 * w, 2, 2, last=False))
        self.low3, self.low4 = stage(2 * w, 4 * w, 2, 2, last=False), stage(4 * w, 8 * w, 2, 2, last=False)
        self.low5 = Residual(8 * w, 8 * w, 2, wide=True, last=False)
        self.high3, self.high4 = stage(high, high, 2, last=False), stage(high, high, 2, last=False)
        self.high5 = Residual(high, high, wide=True, last=False)
        self.up3, self.up4 = normed(4 * w, high, 1), normed(8 * w, high, 1)
        self.down3 = normed(high, 4 * w, 3, 2)
        self.down4 = nn.Sequential(block(high, 4 * w, 3, 2), normed(4 * w, 8 * w, 3, 2))
        self.pyramid, self.head = Pyramid(16 * w, 128, 4 * w, chained=True), head(4 * w, 64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 8, w / 8]."""
        eighth = torch.relu(self.low1(self.stem(x)))
        low, fine = self.low3(eighth), self.high3(eighth)
        both = low + self.down3(torch.relu(fine))
        fine = fine + grow(self.up3(torch.relu(low)), fine)
        low, fine = self.low4(torch.relu(both)), self.high4(torch.relu(fine))
        both = low + self.down4(torch.relu(fine))
        fine = fine + grow(self.up4(torch.relu(low)), fine)
        fine = self.high5(torch.relu(fine))
        return self.head(fine + grow(self.pyramid(self.low5(torch.relu(both))), fine))


class Guided(nn.Module):
    """Pixels of `y` taken into `x` where the two agree."""

    def __init__(self, inputs: int, width: int) -> None:
        super().__init__()
        self.of_x, self.of_y = normed(inputs, width, 1), normed(inputs, width, 1)

    def forward(self, x: torch.Tensor, y: torch.Tensor) -> torch.Tensor:
        """The size of `x`."""
        agree = torch.sigmoid((self.of_x(x) * grow(self.of_y(y), x)).sum(1, keepdim=True))
        return (1 - agree) * x + agree * grow(y, x)


class Pidnet(nn.Module):
    """PIDNet-S: branches for detail, context and boundaries."""

    def __init__(self, width: int = 32) -> None:
        super().__init__()
        w, high = width, 2 * width
        self.stem = nn.Sequential(nn.Conv2d(3, w, 3, 2, 1), nn.BatchNorm2d(w), nn.ReLU(), block(w, w, 3, 2))
        self.low1 = nn.Sequential(stage(w, w, 2, last=False), nn.ReLU(), stage(w, 2 * w, 2, 2, last=False))
        self.low3, self.low4 = stage(2 * w, 4 * w, 3, 2, last=False), stage(4 * w, 8 * w, 3, 2, last=False)
        self.low5 = nn.Sequential(
            Residual(8 * w, 8 * w, 2, wide=True), Residual(16 * w, 8 * w, wide=True, last=False)
        )
        self.fine3, self.fine4 = stage(high, high, 2, last=False), stage(high, high, 2, last=False)
        self.fine5 = Residual(high, high, wide=True, last=False)
        self.edge3, self.edge4 = Residual(high, w, last=False), Residual(w, w, wide=True, last=False)
        self.edge5 = Residual(high, high, wide=True, last=False)
        self.up3, self.up4 = normed(4 * w, high, 1), normed(8 * w, high, 1)
        self.guide3, self.guide4 = Guided(high, w), Guided(high, w)
        self.diff3, self.diff4 = normed(4 * w, w, 3), normed(8 * w, high, 3)
        self.pyramid = Pyramid(16 * w, 96, 4 * w, chained=False)
        self.of_fine, self.of_low = normed(4 * w, 4 * w, 1), normed(4 * w, 4 * w, 1)
        self.head = head(4 * w, 128)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """[1, 3, h, w] -> [1, 19, h / 8, w / 8]."""
        eighth = torch.relu(self.low1(self.stem(x)))
        fine, edge, low = self.fine3(eighth), self.edge3(eighth), torch.relu(self.low3(eighth))
        fine, edge = self.guide3(fine, self.up3(low)), edge + grow(self.diff3(low), edge)
        low, fine, edge = (
            torch.relu(self.low4(low)), self.fine4(torch.relu(fine)), self.edge4(torch.relu(edge))
        )  # fmt: skip
        fine, edge = self.guide4(fine, self.up4(low)), edge + grow(self.diff4(low), edge)
        fine, edge = self.fine5(torch.relu(fine)), self.edge5(torch.relu(edge))
        low = grow(self.pyramid(self.low5(low)), fine)
        share = torch.sigmoid(edge)
        return self.head(self.of_fine((1 - share) * low + fine) + self.of_low(low + share * fine))


class Attention(nn.Module):
    """Multi-head attention of one sequence over another, batch 1."""

    def __init__(self, width: int, heads: int, *, bias: bool = True) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.query, self.key, self.value, self.out = (nn.Linear(width, width, bias=bias) for _ in range(4))

    def forward(self, x: torch.Tensor, other: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
        """[1, n, width], [1, m, width] twice -> [1, n, width]."""
        query, key, value = (
            layer(rows).reshape(1, -1, self.heads, self.size).transpose(1, 2)
            for layer, rows in ((self.query, x), (self.key, other), (self.value, values))
        )
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, -1)
        return self.out((weights @ value).transpose(1, 2).reshape(1, -1, self.heads * self.size))


class DetrLayer(nn.Module):
    """An encoder layer, or with `crossed` a decoder layer; positions are added to queries and keys."""

    def __init__(self, width: int = 256, *, crossed: bool) -> None:
        super().__init__()
        self.own, self.norm = Attention(width, 8), nn.LayerNorm(width)
        self.cross = Attention(width, 8) if crossed else None
        self.norms = nn.ModuleList(nn.LayerNorm(width) for _ in range(2))
        self.inner = nn.Sequential(nn.Linear(width, 2048), nn.ReLU(), nn.Linear(2048, width))

    def forward(
        self, x: torch.Tensor, places: torch.Tensor, seen: torch.Tensor, where: torch.Tensor
    ) -> torch.Tensor:
        """[1, n, width] -> [1, n, width]."""
        x = self.norm(x + self.own(x + places, x + places, x))
        if self.cross is not None:
            x = self.norms[0](x + self.cross(x + places, seen + where, seen))
        return self.norms[1](x + self.inner(x))


class Detr(nn.Module):
    """DETR: a ResNet, six encoder and six decoder layers, a hundred queries."""

    def __init__(self, depth: int, *, dilated: bool) -> None:
        super().__init__()
        from torchvision.models import get_model

        net = get_model(f"resnet{depth}", weights=None, replace_stride_with_dilation=[False, False, dilated])
        self.body = nn.Sequential(*list(net.children())[:-2], nn.Conv2d(2048, 256, 1))
        count = 900 if dilated else 225
        self.where = nn.Parameter(torch.zeros(1, count, 256))
        self.queries = nn.Parameter(torch.zeros(1, 100, 256))
        self.encoder = nn.ModuleList(DetrLayer(crossed=False) for _ in range(6))
        self.decoder = nn.ModuleList(DetrLayer(crossed=True) for _ in range(6))
        self.norm, self.score = nn.LayerNorm(256), nn.Linear(256, 92)
        self.box = nn.Sequential(
            nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 256), nn.ReLU(), nn.Linear(256, 4)
        )

    def forward(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """[1, 3, 480, 480] -> scores [1, 100, 92] and boxes [1, 100, 4]."""
        seen = self.body(x).flatten(2).transpose(1, 2)
        for layer in self.encoder:
            seen = layer(seen, self.where, seen, self.where)
        made = torch.zeros_like(self.queries)
        for layer in self.decoder:
            made = layer(made, self.queries, seen, self.where)
        made = self.norm(made)
        return self.score(made), torch.sigmoid(self.box(made))


class Rotary(nn.Module):
    """A layer of Nomic's BERT: rotary attention and a gated inner layer, without biases, norms after."""

    def __init__(self, width: int, heads: int, inner: int) -> None:
        super().__init__()
        self.heads, self.size = heads, width // heads
        self.joined, self.out = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.gate, self.up, self.down = (
            nn.Linear(width, inner, bias=False), nn.Linear(width, inner, bias=False),
            nn.Linear(inner, width, bias=False),
        )  # fmt: skip
        self.first, self.second = nn.LayerNorm(width), nn.LayerNorm(width)

    def forward(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        """[1, n, width] -> [1, n, width]."""
        query, key, value = (
            part.reshape(1, -1, self.heads, self.size).transpose(1, 2) for part in self.joined(x).chunk(3, -1)
        )
        query, key = (self._turn(part, cosine, sine) for part in (query, key))
        weights = torch.softmax(query @ key.transpose(2, 3) * self.size**-0.5, -1)
        seen = (weights @ value).transpose(1, 2).reshape(1, -1, self.heads * self.size)
        x = self.first(x + self.out(seen))
        return self.second(x + self.down(self.up(x) * functional.silu(self.gate(x))))

    def _turn(self, x: torch.Tensor, cosine: torch.Tensor, sine: torch.Tensor) -> torch.Tensor:
        left, right = x.chunk(2, -1)
        return x * cosine + torch.cat([-right, left], -1) * sine


class Nomic(nn.Module):
    """nomic-embed-text: twelve rotary layers, the mean of all tokens."""

    def __init__(self, length: int = 128) -> None:
        super().__init__()
        self.table, self.norm = nn.Embedding(30528, 768), nn.LayerNorm(768)
        self.layers = nn.ModuleList(Rotary(768, 12, 3072) for _ in range(12))
        self.register_buffer("cosine", torch.ones(length, 64))
        self.register_buffer("sine", torch.zeros(length, 64))

    def forward(self, ids: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
        """[1, n] twice -> [1, 768]."""
        x = self.norm(self.table(ids))
        for layer in self.layers:
            x = layer(x, self.cosine, self.sine)
        kept = mask[..., None].to(x.dtype)
        pooled = (x * kept).sum(1) / kept.sum(1)
        return pooled / pooled.pow(2).sum(-1, keepdim=True).sqrt()


def _detr(depth: int, *, dilated: bool) -> Callable[[], Made]:
    return lambda: (Detr(depth, dilated=dilated), (image(480),))


TEXT = torch.zeros(1, 128, dtype=torch.int64)
MODELS: dict[str, Callable[[], Made]] = {
    "ffnet_40s": slim((4, 5, 6, 4), 2, "B", STREET),
    "ffnet_78s": slim((6, 12, 12, 8), 2, "B", STREET),
    "ffnet_78s_lowres": slim((6, 12, 12, 8), 1, "C", LOW),
    "ffnet_122ns_lowres": narrow((16, 24, 20), "C"),
    "ddrnet23_slim": simple(Ddrnet, STREET),
    "pidnet": simple(Pidnet, STREET),
    "detr_resnet50": _detr(50, dilated=False),
    "detr_resnet101": _detr(101, dilated=False),
    "detr_resnet50_dc5": _detr(50, dilated=True),
    "detr_resnet101_dc5": _detr(101, dilated=True),
    "nomic_embed_text": simple(Nomic, TEXT, torch.ones_like(TEXT)),
}
