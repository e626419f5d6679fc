"""Decode one image file under a pixel cap and turn it into a model's input."""

from __future__ import annotations

import math
import warnings
from typing import TYPE_CHECKING

import numpy as np

from edgekit.calibration.settings import get_count
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from PIL import Image

    from edgekit.calibration.preprocess import Preprocess

# Formats that Pillow decodes by itself; others can start outside programs.
_FORMATS = ("PNG", "JPEG", "BMP", "WEBP", "PPM", "TIFF")
_EIGHT_BIT = ("1", "L", "LA", "P", "PA", "RGB", "RGBA", "RGBX", "CMYK", "YCbCr")


def read_image(path: Path, spec: Preprocess) -> NDArray[np.float32]:
    """One float32 array [1, C, H, W] or [1, H, W, C] of the image, turned as its EXIF tag says.

    Transparency is dropped. A file that is damaged, above the pixel cap, of several frames or of more
    than 8 bits a channel raises SamplesError.
    """
    picture = _decode(path)
    return apply_preprocess(picture, spec)


def apply_preprocess(picture: Image.Image, spec: Preprocess) -> NDArray[np.float32]:
    """The same for an image in memory."""
    picture = picture.convert("L" if spec.colour == "GRAY" else "RGB")
    picture, offset = _resize(picture, spec)
    pixels = np.asarray(picture, np.float32)
    pixels = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if spec.colour == "BGR":
        pixels = pixels[:, :, ::-1]
    values = _normalize(pixels, spec)
    if spec.size is not None and (values.shape[1], values.shape[0]) != spec.size:
        values = _pad(values, spec.size, offset, spec)
    if spec.layout == "NCHW":
        values = values.transpose(2, 0, 1)
    return np.ascontiguousarray(values[None], np.float32)


def _decode(path: Path) -> Image.Image:
    from PIL import Image, ImageOps

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # our own cap is lower
            with Image.open(path, formats=_FORMATS) as picture:
                _check_header(path, picture)
                return ImageOps.exif_transpose(picture)
    except Image.DecompressionBombError as error:
        raise _too_large(path, str(error)) from error
    except (OSError, ValueError, SyntaxError, EOFError, OverflowError) as error:
        raise SamplesError(
            f"image '{path.name}' cannot be decoded: {error}",
            fix=f"remove it, or save it again as one of {', '.join(_FORMATS)}",
        ) from error


def _check_header(path: Path, picture: Image.Image) -> None:
    """Refuse by what the header says, before any pixel is decoded."""
    if picture.width * picture.height > get_count("samples", "image_pixels"):
        raise _too_large(path, f"it claims {picture.width}x{picture.height} pixels")
    if picture.mode not in _EIGHT_BIT:
        raise SamplesError(
            f"image '{path.name}' has mode {picture.mode}, not 8 bits a channel",
            fix="convert it to 8 bits, or give .npy samples already in the model's units",
        )
    if getattr(picture, "n_frames", 1) != 1:
        raise SamplesError(f"image '{path.name}' has several frames", fix="save each frame as an image")


def _too_large(path: Path, what: str) -> SamplesError:
    cap = get_count("samples", "image_pixels")
    return SamplesError(
        f"image '{path.name}' is too large: {what}, the cap is {cap}", fix="scale it down first"
    )


def _resize(picture: Image.Image, spec: Preprocess) -> tuple[Image.Image, tuple[int, int]]:
    """The image at its new size and where it lies (left, top) in the padded one."""
    from PIL import Image

    if spec.size is None:
        return picture, (0, 0)
    width, height = spec.size
    kind = Image.Resampling[spec.interpolation.upper()]
    across, down = width / picture.width, height / picture.height
    if spec.fit == "stretch":
        return picture.resize(spec.size, kind), (0, 0)
    if spec.fit == "pad-right":
        new = min(width, max(1, math.ceil(picture.width * down)))
        return picture.resize((new, height), kind), (0, 0)
    ratio = min(across, down) if spec.fit == "letterbox" else max(across, down)
    if spec.fit == "letterbox":
        new_size = (
            min(width, max(1, round(picture.width * ratio))),
            min(height, max(1, round(picture.height * ratio))),
        )
        return picture.resize(new_size, kind), ((width - new_size[0]) // 2, (height - new_size[1]) // 2)
    wide, high = width / ratio, height / ratio
    left, top = (picture.width - wide) / 2, (picture.height - high) / 2
    box = (max(left, 0.0), max(top, 0.0), min(left + wide, picture.width), min(top + high, picture.height))
    return picture.resize(spec.size, kind, box=box), (0, 0)


def _normalize(pixels: NDArray[np.float32], spec: Preprocess) -> NDArray[np.float32]:
    mean, std = np.array(spec.mean, np.float32), np.array(spec.std, np.float32)
    values: NDArray[np.float32] = (pixels * np.float32(spec.scale) - mean) / std
    return values


def _pad(
    values: NDArray[np.float32], size: tuple[int, int], offset: tuple[int, int], spec: Preprocess
) -> NDArray[np.float32]:
    canvas = np.zeros((size[1], size[0], values.shape[2]), np.float32)
    if spec.pad is not None:
        canvas[:] = _normalize(np.full(values.shape[2], spec.pad, np.float32), spec)
    left, top = offset
    canvas[top : top + values.shape[0], left : left + values.shape[1]] = values
    return canvas
