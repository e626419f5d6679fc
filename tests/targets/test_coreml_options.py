"""Options of target coreml: pictures, listed sizes, palettes; what each writes, and what each refuses."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from onnx import helper

from edgekit.errors import SamplesError, UsageError
from edgekit.targets.coreml.palettize import make_palette
from tests.models import assert_same_outputs, run_onnx, toy_cnn
from tests.targets.coreml_models import Ask, build, description_of, errors_of, open_saved, read_back
from tests.targets.litert_models import model_of

if TYPE_CHECKING:
    from pathlib import Path

RNG = np.random.default_rng(11)
OPEN = {"x": ((1, 4), 3, 16, 16)}


def test_a_picture_input_takes_pixels_and_scales_them_itself(tmp_path: Path) -> None:
    artifact = build(toy_cnn(), tmp_path, Ask(options={"image": "x=rgb:0.0078125:-1"}))
    described = description_of(tmp_path / artifact.main).input[0]
    assert described.type.WhichOneof("Type") == "imageType"
    assert (described.type.imageType.height, described.type.imageType.width) == (16, 16)
    picture = RNG.integers(0, 256, (16, 16, 3)).astype(np.uint8)
    values = (picture.transpose(2, 0, 1)[None] * np.float32(0.0078125) - 1).astype(np.float32)
    expected = run_onnx(toy_cnn(), {"x": values})
    session = open_saved(artifact, tmp_path)
    assert_same_outputs(session.run({"x": values}), expected, rtol=1e-4)
    got: Any = session.program.run({"x": picture})  # as an app feeds it
    assert_same_outputs(got, expected, rtol=1e-4)


def test_listed_sizes_are_the_only_ones_that_the_package_takes(tmp_path: Path) -> None:
    model = toy_cnn(batch="batch")
    ask = Ask(options={"sizes": "x=1x3x16x16,3x3x16x16"}, shapes=OPEN)
    session = open_saved(build(model, tmp_path, ask), tmp_path)
    for count in (1, 3):
        feeds = {"x": RNG.standard_normal((count, 3, 16, 16)).astype(np.float32)}
        assert_same_outputs(session.run(feeds), run_onnx(model, feeds), rtol=1e-4)
    with pytest.raises(SamplesError, match="takes"):
        session.run({"x": np.zeros((2, 3, 16, 16), np.float32)})


def linear(rows: int = 64, columns: int = 64) -> tuple[Any, np.ndarray]:
    weight = RNG.standard_normal((rows, columns)).astype(np.float32)
    return model_of([helper.make_node("MatMul", ["x", "w"], ["y"])], {"x": [2, rows]}, {"w": weight}), weight


@pytest.mark.parametrize("software", ["ios-16", "ios-18"])
@pytest.mark.parametrize("bits", [2, 4, 8])
def test_a_palettized_weight_is_the_table_looked_up(bits: int, software: str, tmp_path: Path) -> None:
    model, weight = linear()
    artifact = build(model, tmp_path, Ask("fp32", software, {"palettize": str(bits)}))
    assert "constexpr_lut_to_dense" in read_back(tmp_path / artifact.main).codes
    palette = make_palette(weight, bits)
    x = RNG.standard_normal((2, 64)).astype(np.float32)
    expected = x @ palette.table[palette.indices]
    got = open_saved(artifact, tmp_path).run({"x": x})["y"]
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)


def test_a_palette_is_no_worse_than_even_steps_and_always_the_same() -> None:
    values = RNG.standard_normal((40, 80)).astype(np.float32)
    palette = make_palette(values, 4)
    step = (values.max() - values.min()) / 15
    even = np.rint((values - values.min()) / step) * step + values.min()
    error = float(((palette.table[palette.indices] - values) ** 2).mean())
    assert error < float(((even - values) ** 2).mean())
    again = make_palette(values, 4)
    np.testing.assert_array_equal(palette.indices, again.indices)
    np.testing.assert_array_equal(palette.table, again.table)


def test_a_weight_of_few_values_is_kept_exactly() -> None:
    values = RNG.choice(np.array([-1.5, 0.25, 3.0], np.float32), (64, 64))
    palette = make_palette(values, 2)
    np.testing.assert_array_equal(palette.table[palette.indices], values)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"image": "other=rgb"}, "no input 'other'"),
        ({"image": "x=rgba"}, "no picture"),
        ({"image": "x=gray"}, r"\[1, 1, height, width\]"),
        ({"image": "x=rgb:zero"}, "no numbers"),
        ({"image": "x=rgb:0"}, "needs a scale"),
        ({"image": "x=rgb:1:1,2"}, "3 biases"),
        ({"image": "rgb"}, "names no input"),
        ({"sizes": "x=1x3"}, "does not fit"),
        ({"sizes": "x=one"}, "are no shapes"),
        ({"sizes": "x=9x3x16x16"}, "does not fit"),
        ({"palettize": "5"}, "palettize='5'"),
    ],
)
def test_a_wrong_option_is_wrong_usage_before_any_work(options: dict[str, str], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        errors_of(toy_cnn(), Ask(options=options))


def test_palettes_and_integers_do_not_mix() -> None:
    with pytest.raises(UsageError, match="belongs to float programs"):
        errors_of(toy_cnn(), Ask("int8", options={"palettize": "4"}))


def test_a_palette_needs_ios_16() -> None:
    (gap,) = errors_of(toy_cnn(), Ask(software="ios-15", options={"palettize": "4"}))
    assert "iOS 16 / macOS 13" in gap.rule
