"""Resizing and sampling planes, and blocks moved between planes and channels."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from edgekit.targets.coreml.interpret.unsupported import Unsupported, refuse_huge

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Array = np.ndarray

# Source position of output i, from both sizes: the formulas of MIL's documentation of resize_bilinear.
_POSITIONS: dict[str, Callable[[Array, int, int], Array]] = {
    "ALIGN_CORNERS": lambda i, old, new: i * ((old - 1) / (new - 1)) if new > 1 else i + (old - 1) / 2,
    "DEFAULT": lambda i, old, new: i * ((old - old / new) / (new - 1)) if new > 1 else i * 0.0,
    "OFFSET_CORNERS": lambda i, old, new: (i + 0.5) * (max(1, old - 1) / new),
    "STRICT_ALIGN_CORNERS": lambda i, old, new: i * ((old - 1) / (new - 1)) if new > 1 else i * 0.0,
    "UNALIGN_CORNERS": lambda i, old, new: (i + 0.5) * (old / new) - 0.5,
}

# Where a whole factor's nearest values are repeats: by resize_nearest_neighbor, and by the formula.
_REPEATING = ("DEFAULT", "UNALIGN_CORNERS")


def _resized(x: Array, axis: int, new: int, mode: str) -> Array:
    """One axis, linearly between its two nearest values."""
    if mode not in _POSITIONS:
        raise Unsupported(f"its sampling_mode '{mode}' has no meaning here")
    old = x.shape[axis]
    at = np.clip(_POSITIONS[mode](np.arange(new), old, new), 0, old - 1)
    low = np.floor(at).astype(np.int64)
    high = np.minimum(low + 1, old - 1)
    shape = [-1 if i == axis % x.ndim else 1 for i in range(x.ndim)]
    part = (at - low).astype(np.float32).reshape(shape)
    made: Array = np.take(x, low, axis) * (1 - part) + np.take(x, high, axis) * part
    return made


def _plane(x: Array, height: int, width: int, mode: str) -> Array:
    refuse_huge([*x.shape[:-2], height, width])
    return _resized(_resized(x, -2, height, mode), -1, width, mode)


def _resize_bilinear(
    x: Array, *, target_size_height: int = 1, target_size_width: int = 1, sampling_mode: str = "DEFAULT"
) -> Array:
    return _plane(x, target_size_height, target_size_width, sampling_mode)


def _upsample_bilinear(
    x: Array,
    *,
    scale_factor_height: float = 1,
    scale_factor_width: float = 1,
    align_corners: bool = True,
    half_pixel_centers: bool | None = None,
) -> Array:
    """The scale is that of the sizes; iOS 16's half_pixel_centers says how, where corners are not aligned."""
    if align_corners and half_pixel_centers:
        raise Unsupported("align_corners with half_pixel_centers is not documented")
    unaligned = "DEFAULT" if half_pixel_centers is False else "UNALIGN_CORNERS"
    height, width = int(scale_factor_height * x.shape[-2]), int(scale_factor_width * x.shape[-1])
    return _plane(x, height, width, "STRICT_ALIGN_CORNERS" if align_corners else unaligned)


def _upsample_nearest_neighbor(
    x: Array, *, scale_factor_height: float = 1, scale_factor_width: float = 1
) -> Array:
    """Each value repeated; what other than whole factors pick is not documented."""
    if scale_factor_height % 1 or scale_factor_width % 1:
        raise Unsupported("a factor that is no whole number is not documented")
    refuse_huge(
        [*x.shape[:-2], int(x.shape[-2] * scale_factor_height), int(x.shape[-1] * scale_factor_width)]
    )
    return np.repeat(np.repeat(x, int(scale_factor_height), -2), int(scale_factor_width), -1)


def _resize_nearest_neighbor(x: Array, *, target_size_height: int, target_size_width: int) -> Array:
    old_height, old_width = x.shape[-2:]
    if target_size_height % old_height or target_size_width % old_width:
        raise Unsupported("a size that is no multiple of the input's is not documented")
    factors = {
        "scale_factor_height": target_size_height / old_height,
        "scale_factor_width": target_size_width / old_width,
    }
    return _upsample_nearest_neighbor(x, **factors)


def _resize(
    x: Array,
    *,
    shape: Sequence[int],
    resized_dims: int,
    interpolation_mode: str = "LINEAR",
    sampling_mode: str = "DEFAULT",
) -> Array:
    """The last `resized_dims` dims to the last ones of `shape`, where 0 keeps a dim."""
    if x.dtype.kind != "f":
        raise Unsupported(f"resizing {x.dtype} is not documented")
    if interpolation_mode not in ("LINEAR", "NEAREST_NEIGHBOR"):
        raise Unsupported(f"its interpolation_mode '{interpolation_mode}' has no meaning here")
    if interpolation_mode == "NEAREST_NEIGHBOR" and sampling_mode not in _REPEATING:
        raise Unsupported(f"which neighbour of a place of '{sampling_mode}' is taken is not documented")
    kept = x.shape[x.ndim - resized_dims :]
    wanted = [new or old for new, old in zip(shape[len(shape) - resized_dims :], kept, strict=True)]
    refuse_huge([*x.shape[: x.ndim - resized_dims], *wanted])
    for place, new in enumerate(wanted):
        axis = x.ndim - resized_dims + place
        if interpolation_mode == "LINEAR":
            x = _resized(x, axis, new, sampling_mode)
        elif new % x.shape[axis] == 0:
            x = np.repeat(x, new // x.shape[axis], axis)
        else:
            raise Unsupported("which neighbour a factor that is no whole number picks is not documented")
    return x


def to_pixels(at: Array, size: int, mode: str, align_corners: bool) -> Array:
    """Coordinates along one axis -> positions counted in pixels."""
    if mode == "unnormalized":
        return at
    if mode not in ("normalized_minus_one_to_one", "normalized_zero_to_one"):
        raise Unsupported(f"its coordinates_mode '{mode}' has no meaning here")
    unit = (at + 1) / 2 if mode == "normalized_minus_one_to_one" else at
    return unit * (size - 1) if align_corners else unit * size - 0.5


def _resample(  # noqa: PLR0913 - MIL's signature
    x: Array,
    coordinates: Array,
    *,
    sampling_mode: str,
    padding_mode: str,
    padding_value: float,
    coordinates_mode: str,
    align_corners: bool,
) -> Array:
    """x [B, C, H, W] at coordinates [B, H2, W2, (x, y)], bilinearly; outside is a constant or the border."""
    if sampling_mode != "bilinear" or padding_mode not in ("constant", "border"):
        raise Unsupported(f"{sampling_mode} sampling with {padding_mode} has no meaning here")
    height, width = x.shape[2:]
    across = to_pixels(coordinates[..., 0].astype(np.float32), width, coordinates_mode, align_corners)
    down = to_pixels(coordinates[..., 1].astype(np.float32), height, coordinates_mode, align_corners)
    if padding_mode == "border":
        across, down = np.clip(across, 0, width - 1), np.clip(down, 0, height - 1)
    return sample_pixels(x, down, across, padding_value)


def sample_pixels(x: Array, down: Array, across: Array, outside: float) -> Array:
    """x [B, C, H, W] at places [B, h, w] counted in pixels, bilinearly -> [B, C, h, w]."""
    left, top = np.floor(across), np.floor(down)
    made = np.zeros((*x.shape[:2], *across.shape[1:]), np.float32)
    for row, row_share in ((top, 1 - (down - top)), (top + 1, down - top)):
        for column, share in ((left, 1 - (across - left)), (left + 1, across - left)):
            picked = _pixel(x, row.astype(np.int64), column.astype(np.int64), outside)
            made += picked * (row_share * share)[:, None]
    return made


def _pixel(x: Array, row: Array, column: Array, outside: float) -> Array:
    """x at whole positions [B, H2, W2], `outside` beyond its edges."""
    inside = (row >= 0) & (row < x.shape[2]) & (column >= 0) & (column < x.shape[3])
    batch = np.arange(len(x))[:, None, None]
    found = x[batch, :, np.clip(row, 0, x.shape[2] - 1), np.clip(column, 0, x.shape[3] - 1)]
    return np.where(inside[:, None], np.moveaxis(found, -1, 1), np.float32(outside))


def _depth_to_space(x: Array, *, block_size: int) -> Array:
    """Depth, column, row: a channel's place in its block is the first part of the channel's number."""
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, b, b, c // (b * b), h, w).transpose(0, 3, 4, 1, 5, 2)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


def _space_to_depth(x: Array, *, block_size: int) -> Array:
    n, c, h, w = x.shape
    b = block_size
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 3, 5, 1, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


def _pixel_shuffle(x: Array, *, upscale_factor: int) -> Array:
    """As PyTorch's: the place in the block is the last part of the channel's number."""
    n, c, h, w = x.shape
    b = upscale_factor
    blocks = x.reshape(n, c // (b * b), b, b, h, w).transpose(0, 1, 4, 2, 5, 3)
    return blocks.reshape(n, c // (b * b), h * b, w * b)


def _pixel_unshuffle(x: Array, *, downscale_factor: int) -> Array:
    n, c, h, w = x.shape
    b = downscale_factor
    blocks = x.reshape(n, c, h // b, b, w // b, b).transpose(0, 1, 3, 5, 2, 4)
    return blocks.reshape(n, c * b * b, h // b, w // b)


COMPUTES: dict[str, Any] = {
    "resample": _resample,
    "resize": _resize,
    "resize_bilinear": _resize_bilinear,
    "upsample_bilinear": _upsample_bilinear,
}
MOVES: dict[str, Any] = {
    "depth_to_space": _depth_to_space,
    "pixel_shuffle": _pixel_shuffle,
    "pixel_unshuffle": _pixel_unshuffle,
    "resize_nearest_neighbor": _resize_nearest_neighbor,
    "space_to_depth": _space_to_depth,
    "upsample_nearest_neighbor": _upsample_nearest_neighbor,
}
