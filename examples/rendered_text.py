"""Labelled text images for PP-OCRv4, rendered with Pillow's built-in font: words, pages and turned words.

The words are not chosen by anyone: they are the unique alphabetic words of 3 to 12 letters of the
LICENSE file beside this folder, sorted; every fourth is for calibration, the others for tests. How
they are cut was chosen, see word_looks.py. The same seed gives the same pixels (with the same Pillow).
"""

from __future__ import annotations

import csv
import re
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Literal

import numpy as np
from PIL import Image, ImageDraw, ImageFilter, ImageFont

from examples.word_looks import DEFAULT_LOOK, LOOKS

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    from examples.word_looks import Look

    Pixels = NDArray[np.uint8]  # height, width, RGB
    Feed = NDArray[np.float32]  # 1, BGR, height, width: what the three models read

_Colour = tuple[int, int, int]
Part = Literal["calibration", "test"]

REC_SHAPE = (1, 3, 48, 320)
CLS_SHAPE = (1, 3, 48, 192)
DET_SHAPE = (1, 3, 640, 640)

_TEXT = Path(__file__).parents[1] / "LICENSE"
_SEEDS = {"calibration": 1000, "test": 2000}


@dataclass(frozen=True)
class Word:
    """One rendered word: what is written, and the crop around it."""

    text: str
    image: Pixels


def find_model(kind: Literal["det", "rec", "cls"]) -> Path:
    """The ONNX file of PP-OCRv4 inside the installed rapidocr-onnxruntime (which is not imported)."""
    spec = find_spec("rapidocr_onnxruntime")
    if spec is None or not spec.submodule_search_locations:
        raise SystemExit("PP-OCRv4 is missing: pip install --no-deps -r requirements-models.txt")
    names = {
        "det": "ch_PP-OCRv4_det_infer.onnx",
        "rec": "ch_PP-OCRv4_rec_infer.onnx",
        "cls": "ch_ppocr_mobile_v2.0_cls_infer.onnx",
    }
    return Path(spec.submodule_search_locations[0]) / "models" / names[kind]


def list_words(part: Part) -> tuple[str, ...]:
    """The words of one part, by the rule in this module's first lines; the two parts share none."""
    found = {word.lower() for word in re.findall(r"\b[A-Za-z]{3,12}\b", _TEXT.read_text(encoding="utf-8"))}
    words = sorted(found)
    if part == "calibration":
        return tuple(words[::4])
    return tuple(word for index, word in enumerate(words) if index % 4)


def render_words(part: Part, count: int, *, look: str = DEFAULT_LOOK) -> list[Word]:
    """`count` rendered words of one part, cut as `LOOKS[look]` says; the list starts again when used up.

    The first round is in lower case, the second Capitalized, the third UPPER, and so on.
    """
    words = list_words(part)
    cases = (str.lower, str.capitalize, str.upper)
    rendered = []
    for index in range(count):
        text = cases[index // len(words) % 3](words[index % len(words)])
        rng = np.random.default_rng(_SEEDS[part] + index)
        rendered.append(Word(text, _render_word(text, rng, LOOKS[look])))
    return rendered


def render_turned_words(part: Part, count: int) -> list[tuple[Pixels, int]]:
    """Words for the angle classifier: every second one upside down, label 0 (upright) or 1 (180 degrees)."""
    words = render_words(part, count)
    return [
        (np.ascontiguousarray(word.image[::-1, ::-1]) if index % 2 else word.image, index % 2)
        for index, word in enumerate(words)
    ]


def render_pages(part: Part, count: int) -> list[Pixels]:
    """`count` pages of 640x640 pixels with lines of words in changing sizes and colours."""
    return [_render_page(list_words(part), np.random.default_rng(_SEEDS[part] + n)) for n in range(count)]


def to_rec_input(image: Pixels) -> Feed:
    """(x/255 - 0.5)/0.5, BGR, height 48, padded with zeros to width 320: what the recognizer reads."""
    return _to_padded_input(image, REC_SHAPE)


def to_cls_input(image: Pixels) -> Feed:
    """The same for the angle classifier, squeezed or padded to width 192."""
    return _to_padded_input(image, CLS_SHAPE)


def to_det_input(image: Pixels) -> Feed:
    """(x/255 - 0.5)/0.5, BGR, 640x640: what the detector reads (mean and std as in its package)."""
    return _to_padded_input(image, DET_SHAPE)


def save_samples(
    inputs: Iterable[Feed], folder: Path, *, name: str = "x", labels: Iterable[object] = ()
) -> Path:
    """Write one .npz a sample, its key the model's input `name`; returns the folder.

    `labels`, one a sample, go into labels.csv beside them: what `--metric` scores against.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for index, values in enumerate(inputs):
        np.savez(folder / f"{index:04d}.npz", allow_pickle=False, **{name: values})
    rows = [(f"{index:04d}.npz", label) for index, label in enumerate(labels)]
    if rows:
        with (folder / "labels.csv").open("w", encoding="utf-8", newline="") as stream:
            csv.writer(stream).writerows([("file", "label"), *rows])
    return folder


def _to_padded_input(image: Pixels, shape: tuple[int, int, int, int]) -> Feed:
    height, width = shape[2:]
    new_width = min(width, -(-image.shape[1] * height // image.shape[0]))
    resized = Image.fromarray(image).resize((new_width, height), Image.Resampling.BILINEAR)
    values = np.asarray(resized, np.float32)[:, :, ::-1].transpose(2, 0, 1)
    padded = np.zeros(shape, np.float32)
    padded[0, :, :, :new_width] = (values / 255 - 0.5) / 0.5
    return padded


def _pick_colours(rng: np.random.Generator) -> tuple[_Colour, _Colour]:
    """Ink and paper, at least 90 grey levels apart; one word in four is light on dark."""
    paper = rng.integers(175, 256, 3)
    ink = rng.integers(0, 86, 3)
    dark, light = _to_colour(ink), _to_colour(paper)
    return (dark, light) if rng.random() < 0.75 else (light, dark)


def _to_colour(levels: NDArray[np.int64]) -> _Colour:
    return int(levels[0]), int(levels[1]), int(levels[2])


def _render_word(text: str, rng: np.random.Generator, look: Look) -> Pixels:
    """One word in a seeded size, place, colour, blur and noise."""
    ink, paper = _pick_colours(rng)
    size = int(rng.integers(*look.sizes))
    font = ImageFont.load_default(size=size)
    left, _, right, _ = font.getbbox(text)
    width = int(right - left) + int(rng.integers(*look.margins))
    height = look.fixed_height or int(size * rng.uniform(*look.heights))
    image = Image.new("RGB", (width, height), paper)
    place = (width / 2, height / 2 + float(rng.uniform(-look.shift, look.shift)))
    ImageDraw.Draw(image).text(place, text, fill=ink, font=font, anchor="mm")
    image = image.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8))))
    return _add_noise(image, rng)


def _render_page(words: Sequence[str], rng: np.random.Generator) -> Pixels:
    """One page: lines of words from top to bottom until it is full."""
    ink, paper = _pick_colours(rng)
    page = Image.new("RGB", (640, 640), paper)
    draw = ImageDraw.Draw(page)
    top = int(rng.integers(10, 40))
    while top < 600:
        size = int(rng.integers(14, 44))
        font = ImageFont.load_default(size=size)
        line = " ".join(words[int(i)] for i in rng.integers(0, len(words), 12))
        fits = line[: max(1, int(rng.uniform(0.3, 0.95) * 640 / (size * 0.55)))]
        draw.text((int(rng.integers(8, 60)), top), fits, fill=ink, font=font)
        top += int(size * rng.uniform(1.3, 2.6))
    return _add_noise(page.filter(ImageFilter.GaussianBlur(float(rng.uniform(0, 0.8)))), rng)


def _add_noise(image: Image.Image, rng: np.random.Generator) -> Pixels:
    """Gaussian noise with a standard deviation of up to 10 grey levels."""
    values = np.asarray(image, np.float32)
    noisy = values + rng.normal(0, float(rng.uniform(0, 10)), values.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)
