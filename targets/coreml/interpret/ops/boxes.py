"""Parts of a picture, cut out and sampled bilinearly: boxes, and affine transforms."""

from __future__ import annotations

from typing import Any

import numpy as np

from edgekit.targets.coreml.interpret.ops.image import sample_pixels, to_pixels
from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

Array = np.ndarray
_CORNERS = {
    "CORNERS_HEIGHT_FIRST": (0, 1, 2, 3),
    "CORNERS_WIDTH_FIRST": (1, 0, 3, 2),
    "CENTER_SIZE_HEIGHT_FIRST": (0, 1, 2, 3),
    "CENTER_SIZE_WIDTH_FIRST": (1, 0, 3, 2),
}


def _crop_resize(  # noqa: PLR0913 - MIL's signature
    x: Array,
    boxes: Array | None = None,
    box_indices: Array | None = None,
    roi: Array | None = None,
    *,
    target_height: int = 1,
    target_width: int = 1,
    normalized_coordinates: bool = False,
    spatial_scale: float = 1.0,
    box_coordinate_mode: str = "CORNERS_HEIGHT_FIRST",
    sampling_mode: str = "DEFAULT",
    pad_value: float = 0.0,
) -> Array:
    """x [B, C, H, W], boxes [N, 4] -> [N, C, h, w], corners of a box sampled too; beyond x is pad_value."""
    if boxes is None or roi is not None:
        raise Unsupported("regions of iOS 15 and 16 (roi) have no formula here")
    if sampling_mode not in ("STRICT_ALIGN_CORNERS", "ALIGN_CORNERS") or 1 in (target_height, target_width):
        raise Unsupported(f"which places of a box '{sampling_mode}' samples is not documented")
    if box_coordinate_mode not in _CORNERS:
        raise Unsupported(f"its box_coordinate_mode '{box_coordinate_mode}' has no meaning here")
    refuse_huge([len(boxes), x.shape[1], target_height, target_width])
    height, width = x.shape[2:]
    size = np.array([height - 1, width - 1] * 2, np.float32) if normalized_coordinates else np.float32(1)
    ordered = boxes.astype(np.float32)[:, list(_CORNERS[box_coordinate_mode])] * np.float32(spatial_scale)
    edges = ordered * size
    if box_coordinate_mode.startswith("CENTER"):
        middle, span = edges[:, :2], edges[:, 2:]
        edges = np.concatenate([middle - span / 2, middle + span / 2], axis=1)
    down = np.linspace(edges[:, 0], edges[:, 2], target_height, axis=1)[:, :, None]
    across = np.linspace(edges[:, 1], edges[:, 3], target_width, axis=1)[:, None, :]
    chosen = np.arange(len(boxes)) if box_indices is None else box_indices.astype(np.int64)
    shape = (len(boxes), target_height, target_width)
    places = np.broadcast_to(down, shape), np.broadcast_to(across, shape)
    # Between the last pixel and a place beyond it TensorFlow has nothing to interpolate: pad_value alone.
    inside = (places[0] >= 0) & (places[0] <= height - 1) & (places[1] >= 0) & (places[1] <= width - 1)
    return np.where(inside[:, None], sample_pixels(x[chosen], *places, pad_value), np.float32(pad_value))


def _affine(  # noqa: PLR0913 - MIL's signature
    x: Array,
    transform_matrix: Array,
    *,
    output_height: int,
    output_width: int,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Array:
    """The output's places in [-1, 1], moved by [a0 a1 a2; b0 b1 b2], are where x is sampled."""
    if sampling_mode != "bilinear" or padding_mode != "constant" or not align_corners:
        raise Unsupported(f"{sampling_mode} sampling with {padding_mode} has no meaning here")
    if coordinates_mode != "normalized_minus_one_to_one" or 1 in (output_height, output_width):
        raise Unsupported(f"where '{coordinates_mode}' puts {output_height}x{output_width} is not documented")
    refuse_huge([*x.shape[:2], output_height, output_width])
    rows, columns = np.meshgrid(
        np.linspace(-1, 1, output_height, dtype=np.float32),
        np.linspace(-1, 1, output_width, dtype=np.float32),
        indexing="ij",
    )
    grid = np.stack([columns, rows, np.ones_like(rows)])
    matrices = np.broadcast_to(transform_matrix.reshape(-1, 2, 3), (len(x), 2, 3))
    moved = np.tensordot(matrices, grid, axes=(2, 0))
    across = to_pixels(moved[:, 0], x.shape[3], coordinates_mode, align_corners)
    down = to_pixels(moved[:, 1], x.shape[2], coordinates_mode, align_corners)
    return sample_pixels(x, down, across, padding_value)


COMPUTES: dict[str, Any] = {"affine": _affine, "crop_resize": _crop_resize}
