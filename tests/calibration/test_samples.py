"""Samples from every source, and what each refuses."""

from __future__ import annotations

import io
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from PIL import Image

from edgekit._values import TensorInfo
from edgekit.calibration.preprocess import parse_preprocess
from edgekit.calibration.samples import load_samples
from edgekit.errors import SamplesError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

X = TensorInfo("x", "float32", (1, 3, 4, 5))
IDS = TensorInfo("ids", "int32", ("batch", None))
SPEC = parse_preprocess("size=5x4")


def draw(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape, np.float32)


def write_images(folder: Path, count: int = 3) -> Path:
    folder.mkdir(exist_ok=True)
    for index in range(count):
        pixels = np.random.default_rng(index).integers(0, 256, (4, 5, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(folder / f"{index}.png")
    return folder


def test_a_folder_of_images_is_read_sorted_and_again_and_again(tmp_path: Path) -> None:
    samples = load_samples(write_images(tmp_path / "a"), [X], preprocess=SPEC)
    assert (len(samples), samples.kind) == (3, "real")
    for _ in range(2):
        read = list(samples)
        assert [sample.name for sample in read] == ["0.png", "1.png", "2.png"]
        pixels = np.random.default_rng(2).integers(0, 256, (4, 5, 3))
        np.testing.assert_allclose(read[2].feeds["x"][0], pixels.transpose(2, 0, 1) / 255, atol=1e-6)


def test_images_without_preprocessing_are_refused_with_the_size_to_use(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="--preprocess size=5x4"):
        load_samples(write_images(tmp_path / "a"), [X])


def test_the_digest_follows_bytes_order_and_preprocessing_and_decodes_nothing(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a")
    first = load_samples(folder, [X], preprocess=SPEC).digest
    assert load_samples(write_images(tmp_path / "b"), [X], preprocess=SPEC).digest == first
    assert load_samples(folder, [X], preprocess=parse_preprocess("size=5x4,colour=BGR")).digest != first
    assert load_samples(folder, [X], preprocess=SPEC, limit=2).digest != first
    (folder / "1.png").write_bytes(b"no image")
    assert load_samples(folder, [X], preprocess=SPEC).digest != first


def test_labels_csv_gives_a_label_a_sample_in_order(tmp_path: Path) -> None:
    folder = write_images(tmp_path / "a")
    (folder / "labels.csv").write_text('file,label\n2.png,"c, d"\n0.png,a\n1.png,b\n', encoding="utf-8")
    assert load_samples(folder, [X], preprocess=SPEC).labels == ("a", "b", "c, d")
    (folder / "labels.csv").write_text("file,label\n2.png,c\n", encoding="utf-8")
    with pytest.raises(SamplesError, match=r"labels\.csv.*0\.png"):
        load_samples(folder, [X], preprocess=SPEC)


def test_npz_files_feed_several_inputs_and_gain_a_missing_batch_axis(tmp_path: Path) -> None:
    np.savez(tmp_path / "b.npz", x=draw(3, 4, 5), ids=np.array([1, 2], np.int64))
    np.savez_compressed(
        tmp_path / "a.npz", x=draw(1, 3, 4, 5).astype(np.float64), ids=np.ones((2, 3), np.int32)
    )
    first, second = load_samples(tmp_path, [X, IDS])
    assert (first.name, second.name) == ("a.npz", "b.npz")
    assert first.feeds["x"].dtype == np.float32
    assert second.feeds["x"].shape == (1, 3, 4, 5)
    assert second.feeds["ids"].tolist() == [[1, 2]]
    assert second.feeds["ids"].dtype == np.int32


@pytest.mark.parametrize("order", ["C", "F"])
def test_npy_files_feed_one_input(tmp_path: Path, order: str) -> None:
    np.save(tmp_path / "a.npy", np.asarray(draw(1, 3, 4, 5), order=order))  # type: ignore[call-overload]
    (sample,) = load_samples(tmp_path, [X])
    np.testing.assert_array_equal(sample.feeds["x"], draw(1, 3, 4, 5))
    with pytest.raises(SamplesError, match="2 inputs"):
        load_samples(tmp_path, [X, IDS])


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_a_stacked_npz_is_read_row_by_row_with_labels(tmp_path: Path, save: Callable[..., None]) -> None:
    stack = draw(6, 3, 4, 5)
    save(tmp_path / "a.npz", x=stack, ids=np.arange(12).reshape(6, 2), labels=np.array(list("abcdef")))
    samples = load_samples(tmp_path / "a.npz", [X, IDS], limit=4)
    assert samples.labels == ("a", "b", "c", "d")
    for index, sample in enumerate(samples):
        np.testing.assert_array_equal(sample.feeds["x"][0], stack[index])
        assert sample.feeds["ids"].tolist() == [[2 * index, 2 * index + 1]]
    assert len(list(samples)) == 4


def test_a_stacked_npy_is_mapped_and_each_row_gains_its_batch_axis(tmp_path: Path) -> None:
    stack = draw(4, 1, 3, 4, 5)
    np.save(tmp_path / "a.npy", stack)
    read = [sample.feeds["x"] for sample in load_samples(str(tmp_path / "a.npy"), [X])]
    np.testing.assert_array_equal(np.stack(read), stack)


def give_arrays() -> Iterator[np.ndarray]:
    for seed in range(3):
        yield draw(1, 3, 4, 5, seed=seed)


def test_a_function_and_its_name_give_the_same_samples(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my_samples_for_test.py").write_text(
        "import numpy as np\n"
        "def make():\n"
        "    for seed in range(3):\n"
        "        yield {'x': np.random.default_rng(seed).standard_normal((1, 3, 4, 5), np.float32)}\n",
        encoding="utf-8",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    named = load_samples("my_samples_for_test:make", [X])
    given = load_samples(give_arrays, [X])
    assert named.digest == given.digest
    assert len(given) == 3
    assert [s.feeds["x"].sum() for s in named] == [s.feeds["x"].sum() for s in given]
    assert len(load_samples(give_arrays, [X], limit=2)) == 2


def test_functions_that_fail_or_change_are_refused() -> None:
    def fail() -> Iterator[np.ndarray]:
        yield draw(1, 3, 4, 5)
        raise KeyError("lost")

    generator = np.random.default_rng()
    changing = load_samples(lambda: [generator.standard_normal((1, 3, 4, 5), np.float32)], [X])
    with pytest.raises(SamplesError, match="KeyError"):
        load_samples(fail, [X])
    with pytest.raises(SamplesError, match="another sample 0"):
        list(changing)
    with pytest.raises(SamplesError, match="gave no samples"):
        load_samples(list, [X])
    with pytest.raises(SamplesError, match="cannot be imported"):
        load_samples("no_such_module_here:make", [X])
    with pytest.raises(SamplesError, match="is no function"):
        load_samples("sys:path", [X])


def test_a_module_that_raises_is_named_with_what_it_raised(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "raises_when_imported.py").write_text("raise ValueError('no data here')\n")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SamplesError, match="cannot be imported: ValueError: no data here"):
        load_samples("raises_when_imported:make", [X])


def test_random_samples_warn_are_marked_and_are_the_same_each_time() -> None:
    with pytest.warns(UserWarning, match="RANDOM"):
        samples = load_samples("random", [X, TensorInfo("ids", "int64", ("n", 7))], limit=5)
    assert (samples.kind, len(samples)) == ("random", 5)
    first, again = [list(samples) for _ in range(2)]
    for one, other in zip(first, again, strict=True):
        np.testing.assert_array_equal(one.feeds["x"], other.feeds["x"])
    assert first[0].feeds["ids"].shape == (1, 7)
    assert set(np.unique(np.stack([s.feeds["ids"] for s in first]))) == {0, 1}
    assert 0.8 < np.stack([s.feeds["x"] for s in first]).std() < 1.2
    with pytest.raises(SamplesError, match="--shape x="):
        load_samples("random", [TensorInfo("x", "float32", (1, 3, "h", None))])


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (draw(1, 3, 4, 6), r"shape \[1, 3, 4, 6\], expected \[1, 3, 4, 5\]"),
        (draw(2, 3, 4, 5), "shape"),
        (draw(4, 5), "shape"),
        (np.zeros((1, 3, 4, 5), np.uint8), "dtype uint8, expected float32"),
        (np.zeros((1, 3, 4, 5), np.int64), "dtype int64"),
        (np.full((1, 3, 4, 5), np.nan, np.float32), "60 values are NaN"),
        (np.full((1, 3, 4, 5), np.inf, np.float64), "NaN or infinite"),
        (np.full((1, 3, 4, 5), 1e300), "beyond float32"),
        (np.zeros((1, 3, 4, 5), np.complex64), "complex64"),
        (np.zeros((1, 3, 4, 5), "U3"), "dtype"),
    ],
)
def test_a_sample_that_does_not_fit_is_named_with_its_input(
    tmp_path: Path, array: np.ndarray, message: str
) -> None:
    np.save(tmp_path / "odd.npy", array)
    with pytest.raises(SamplesError, match=message) as caught:
        list(load_samples(tmp_path, [X]))
    assert "'odd.npy'" in str(caught.value)
    assert "'x'" in str(caught.value)


def test_free_dims_take_any_size_but_zero_and_integers_must_fit(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.zeros((2, 9), np.int64))
    assert next(iter(load_samples(tmp_path, [IDS]))).feeds["ids"].shape == (2, 9)
    np.save(tmp_path / "a.npy", np.zeros((2, 0), np.int32))
    with pytest.raises(SamplesError, match="shape"):
        list(load_samples(tmp_path, [IDS]))
    np.save(tmp_path / "a.npy", np.full((2, 2), 2**40))
    with pytest.raises(SamplesError, match="outside int32"):
        list(load_samples(tmp_path, [IDS]))


def test_sources_that_are_no_samples_are_refused(tmp_path: Path) -> None:
    with pytest.raises(SamplesError, match="no samples at"):
        load_samples(tmp_path / "nowhere", [X])
    with pytest.raises(SamplesError, match="holds no images"):
        load_samples(tmp_path, [X])
    write_images(tmp_path, 1)
    np.save(tmp_path / "a.npy", draw(1, 3, 4, 5))
    with pytest.raises(SamplesError, match="mixes images and npy"):
        load_samples(tmp_path, [X], preprocess=SPEC)
    np.save(tmp_path / "empty.npy", np.zeros((0, 3, 4, 5), np.float32))
    with pytest.raises(SamplesError, match="at least one"):
        load_samples(tmp_path / "empty.npy", [X])
    with pytest.raises(SamplesError, match="at least one sample"):
        load_samples("random", [X], limit=0)
    with pytest.raises(SamplesError, match="leave --preprocess out"):
        load_samples(tmp_path / "a.npy", [TensorInfo("x", "float32", (3, 4, 5))], preprocess=SPEC)


def test_npz_names_must_be_the_inputs(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", X=draw(1, 3, 4, 5))
    with pytest.raises(SamplesError, match="inputs 'X', the model reads 'x'"):
        list(load_samples(tmp_path, [X]))
    with pytest.raises(SamplesError, match="the model reads"):
        load_samples(tmp_path / "a.npz", [X])
    np.savez(tmp_path / "b.npz", x=draw(3, 3, 4, 5), ids=np.ones((2, 3), np.int32))
    with pytest.raises(SamplesError, match="'ids' 2, 'x' 3"):
        load_samples(tmp_path / "b.npz", [X, IDS])


def test_images_of_sixteen_bits_or_several_frames_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.full((4, 5), 60_000, np.uint16)).save(tmp_path / "a.png")
    with pytest.raises(SamplesError, match="8 bits"):
        list(load_samples(tmp_path, [X], preprocess=SPEC))
    (tmp_path / "a.png").unlink()
    frames = [Image.new("RGB", (5, 4), colour) for colour in ("red", "blue")]
    frames[0].save(tmp_path / "a.tiff", save_all=True, append_images=frames[1:])
    with pytest.raises(SamplesError, match="several frames"):
        list(load_samples(tmp_path, [X], preprocess=SPEC))


def test_photos_are_turned_as_their_exif_tag_says(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (5, 4, 3)).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = image.getexif()
    exif[0x0112] = 6  # shown turned by 90 degrees clockwise
    buffer = io.BytesIO()
    image.save(buffer, "PNG", exif=exif)
    (tmp_path / "a.png").write_bytes(buffer.getvalue())
    (sample,) = load_samples(tmp_path, [X], preprocess=SPEC)
    np.testing.assert_allclose(sample.feeds["x"][0], np.rot90(pixels, -1).transpose(2, 0, 1) / 255, atol=1e-6)
