"""Preprocessing: its text form, and pixels against the formula written out."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgekit.calibration.preprocess import Preprocess, parse_preprocess
from edgekit.calibration.read_image import apply_preprocess
from edgekit.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

TEXT = "size=320x48,fit=pad-right,mean=0.485/0.456/0.406,std=0.229/0.224/0.225,layout=NHWC,colour=BGR"


def picture(width: int, height: int) -> Image.Image:
    generator = np.random.default_rng(width)
    return Image.fromarray(generator.integers(0, 256, (height, width, 3), np.uint8).astype(np.uint8))


def test_text_and_mapping_give_the_same_value() -> None:
    spec = parse_preprocess(TEXT)
    assert spec == Preprocess(
        (320, 48), "pad-right", (0.485, 0.456, 0.406), (0.229, 0.224, 0.225), layout="NHWC", colour="BGR"
    )
    given = {
        "size": [320, 48],
        "fit": "pad-right",
        "mean": [0.485, 0.456, 0.406],
        "std": [0.229, 0.224, 0.225],
    }
    assert parse_preprocess({**given, "layout": "NHWC", "colour": "BGR"}) == spec


def test_a_toml_file_gives_the_same_value(tmp_path: Path) -> None:
    file = tmp_path / "spec.toml"
    file.write_text('size = [320, 48]\nfit = "pad-right"\nmean = 0.5\nstd = [0.5]\n', encoding="utf-8")
    assert parse_preprocess(str(file)) == parse_preprocess("size=320x48,fit=pad-right,mean=0.5,std=0.5")
    with pytest.raises(UsageError, match="cannot be read"):
        parse_preprocess(str(tmp_path / "missing.toml"))


@pytest.mark.parametrize(
    "text", [TEXT, "size=keep", "size=8x8,pad=114,fit=letterbox,scale=1,interpolation=bicubic"]
)
def test_the_text_of_a_value_reads_back_to_it(text: str) -> None:
    spec = parse_preprocess(text)
    assert parse_preprocess(str(spec)) == spec


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("size=8x8,colr=BGR", "did you mean 'colour'"),
        ("size=8x8,fit=leterbox", "did you mean 'letterbox'"),
        ("size=8x8,layout=nchw", "layout"),
        ("fit=stretch", "names no size"),
        ("size=8", "WIDTHxHEIGHT"),
        ("size=0x8", "WIDTHxHEIGHT"),
        ("size=99999x99999", "WIDTHxHEIGHT"),
        ("size=8x8,mean=0.5/0.5", "3 numbers"),
        ("size=8x8,colour=GRAY,mean=0.5/0.5/0.5", "1 numbers"),
        ("size=8x8,std=0", "no usable number"),
        ("size=8x8,mean=nan", "no usable number"),
        ("size=8x8,mean=a", "no usable number"),
        ("size=8x8,mean", "KEY=VALUE"),
        ("size=8x8,size=9x9", "twice"),
    ],
)
def test_what_is_not_known_is_refused(text: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        parse_preprocess(text)


def test_values_are_scaled_shifted_and_ordered_by_the_formula() -> None:
    image = picture(5, 4)
    pixels = np.asarray(image, np.float64)
    spec = parse_preprocess("size=5x4,mean=0.1/0.2/0.3,std=0.5/0.6/0.7,colour=BGR")
    expected = (pixels[:, :, ::-1] / 255 - [0.1, 0.2, 0.3]) / [0.5, 0.6, 0.7]
    np.testing.assert_allclose(apply_preprocess(image, spec), expected.transpose(2, 0, 1)[None], atol=1e-6)
    upright = apply_preprocess(image, parse_preprocess("size=5x4,layout=NHWC"))
    np.testing.assert_allclose(upright, pixels[None] / 255, atol=1e-6)
    assert upright.dtype == np.float32
    assert upright.flags.c_contiguous


def test_grey_has_one_channel() -> None:
    image = picture(6, 4)
    found = apply_preprocess(image, parse_preprocess("size=keep,colour=GRAY,scale=1"))
    np.testing.assert_array_equal(found[0, 0], np.asarray(image.convert("L"), np.float32))


def test_pad_right_keeps_the_ratio_and_pads_with_zero_after_mean_and_std() -> None:
    image = picture(40, 20)
    found = apply_preprocess(image, parse_preprocess("size=30x10,fit=pad-right,mean=0.5,std=0.5"))
    small = np.asarray(image.resize((20, 10), Image.Resampling.BILINEAR), np.float64)
    np.testing.assert_allclose(found[0, :, :, :20], ((small / 255 - 0.5) / 0.5).transpose(2, 0, 1), atol=1e-6)
    assert (found[0, :, :, 20:] == 0).all()
    squeezed = apply_preprocess(picture(400, 10), parse_preprocess("size=30x10,fit=pad-right"))
    assert squeezed.shape == (1, 3, 10, 30)


def test_letterbox_centres_the_image_between_the_pad_value() -> None:
    found = apply_preprocess(picture(20, 10), parse_preprocess("size=20x20,fit=letterbox,pad=114,scale=1"))
    np.testing.assert_array_equal(
        found[0, :, 5:15], np.asarray(picture(20, 10), np.float32).transpose(2, 0, 1)
    )
    assert (found[0, :, :5] == 114).all()
    assert (found[0, :, 15:] == 114).all()


def test_center_crop_takes_the_middle() -> None:
    image = picture(20, 10)
    found = apply_preprocess(image, parse_preprocess("size=10x10,fit=center-crop,scale=1"))
    np.testing.assert_array_equal(found[0], np.asarray(image, np.float32)[:, 5:15].transpose(2, 0, 1))
