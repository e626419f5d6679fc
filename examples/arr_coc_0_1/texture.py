"""The texture array: an image as 13 channels on a coarse grid, without a weight."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from examples.arr_coc_0_1.configuration import CHANNELS

# sRGB to CIE XYZ (IEC 61966-2-1), each row divided by the D65 white point, so that white is 1, 1, 1.
_XYZ = ((0.4124564, 0.3575761, 0.1804375), (0.2126729, 0.7151522, 0.0721750))
_WHITE = (0.95047, 1.0)
_GREY = (0.299, 0.587, 0.114)  # ITU-R BT.601 luma
_SOBEL = ((-1.0, 0.0, 1.0), (-2.0, 0.0, 2.0), (-1.0, 0.0, 1.0))
_TINY = 1e-6
SOBEL_MAGNITUDE = 7  # its channel, which the perspectival scorer reads


class TextureArray(nn.Module):
    """image [1, 3, height, width], RGB of 0..1 -> [1, 13, grid, grid].

    Channels: R, G, B, L*/100, a*/128, Sobel x, y and magnitude of the luma, y, x, eccentricity, and again
    the magnitude and L*. Each cell holds the mean over its pixels.
    """

    to_xyz: torch.Tensor
    to_grey: torch.Tensor
    sobel: torch.Tensor
    places: torch.Tensor

    def __init__(self, pixels: int, grid: int) -> None:
        super().__init__()
        self.pixels, self.cell = pixels, pixels // grid
        to_xyz = torch.tensor(
            [[value / white for value in row] for row, white in zip(_XYZ, _WHITE, strict=True)]
        )
        self.register_buffer("to_xyz", to_xyz[:, :, None, None], persistent=False)
        self.register_buffer("to_grey", torch.tensor(_GREY)[None, :, None, None], persistent=False)
        sobel = torch.tensor(_SOBEL)
        self.register_buffer("sobel", torch.stack((sobel, sobel.T))[:, None] / 4, persistent=False)
        self.register_buffer("places", _places(grid), persistent=False)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        if image.shape[2:] != (self.pixels, self.pixels):
            image = functional.interpolate(image, (self.pixels, self.pixels), mode="bilinear")
        light, red_green = self._lab(image)
        edges = functional.conv2d(functional.conv2d(image, self.to_grey), self.sobel, padding=1)
        magnitude = (edges.square().sum(1, keepdim=True) + _TINY).sqrt()
        fine = torch.cat((image, light, red_green, edges, magnitude), 1)
        cells = functional.avg_pool2d(fine, self.cell)
        again = (cells[:, SOBEL_MAGNITUDE : SOBEL_MAGNITUDE + 1], cells[:, 3:4])
        array = torch.cat((cells, self.places, *again), 1)
        assert array.shape[1] == CHANNELS
        return array

    def _lab(self, image: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        """L*/100 and a*/128 of CIE 1976, by the formulas of IEC 61966-2-1 and CIE 15."""
        bent = ((image.clamp(min=0.04045) + 0.055) / 1.055) ** 2.4
        linear = torch.where(image <= 0.04045, image / 12.92, bent)
        xyz = functional.conv2d(linear, self.to_xyz)
        low = (6 / 29) ** 3
        root = torch.where(xyz > low, xyz.clamp(min=low) ** (1 / 3), xyz * (841 / 108) + 4 / 29)
        x, y = root[:, :1], root[:, 1:]
        return (116 * y - 16) / 100, 500 * (x - y) / 128


def _places(grid: int) -> torch.Tensor:
    """y, x and eccentricity of each cell, [1, 3, grid, grid]; the middle is 0, the border 1."""
    line = (torch.arange(grid) + 0.5) / grid * 2 - 1
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack((y, x, (y.square() + x.square()).sqrt()))[None]
