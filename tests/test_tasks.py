"""Task metrics on outputs whose score can be counted by hand, and on a real OCR model."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from edgekit._tasks import decode_ctc, evaluate, load_metric, read_vocabulary, score_task, vocabulary_of
from edgekit._verify import OrtSession
from edgekit.errors import SamplesError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator


@dataclass(frozen=True)
class One:
    name: str
    feeds: Any


@dataclass(frozen=True)
class Listed:
    arrays: tuple[Any, ...]
    labels: tuple[str, ...] | None

    def __iter__(self) -> Iterator[One]:
        return (One(str(index), {"x": np.asarray(array)}) for index, array in enumerate(self.arrays))


class Echo:
    """Gives its input back, times a factor."""

    def __init__(self, factor: float = 1.0) -> None:
        self.factor = factor

    def run(self, feeds: Any, taps: Any = ()) -> dict[str, Any]:
        return {"y": feeds["x"] * self.factor}


def one_hot(*classes: int, size: int) -> Any:
    return np.eye(size, dtype=np.float32)[list(classes)]


def test_top1_is_the_share_of_right_classes() -> None:
    samples = Listed((one_hot(0, size=3), one_hot(1, size=3), one_hot(2, size=3)), ("0", "1", "1"))
    score, count = evaluate(Echo(), samples, load_metric("top1"))
    assert score == pytest.approx(2 / 3)
    assert count == 3


def test_a_nan_row_is_never_right() -> None:
    samples = Listed((np.array([[np.nan, 0.0]]),), ("0",))
    assert evaluate(Echo(), samples, load_metric("top1"))[0] == 0.0


def test_greedy_ctc_merges_repeats_and_drops_blanks() -> None:
    # classes: 0 blank, 1 a, 2 b: a a _ a b b -> aab
    assert decode_ctc(one_hot(1, 1, 0, 1, 2, 2, size=3), "ab") == "aab"
    # one class more: the space at the end of PP-OCR's list
    assert decode_ctc(one_hot(1, 3, 2, size=4), "ab") == "a b"
    assert decode_ctc(one_hot(0, 0, size=3), "ab") == ""


def test_cer_is_edits_over_label_characters_of_stripped_text() -> None:
    read = one_hot(3, 1, 2, 0, 3, size=4)[None]  # " ab "
    samples = Listed((read, read), ("ab", "abbb"))
    metric = load_metric("cer", vocabulary="ab")
    assert evaluate(Echo(), samples, metric)[0] == pytest.approx(2 / 6)
    assert metric.better == "lower"
    assert evaluate(Echo(), samples, load_metric("exact", vocabulary="ab"))[0] == 0.5


def test_both_sessions_are_scored_on_the_same_samples() -> None:
    samples = Listed((one_hot(0, size=2) + 0.1, one_hot(1, size=2) + 0.1), ("0", "1"))
    task = score_task(Echo(-1.0), Echo(), samples, metric=load_metric("top1"))
    assert (task.fp32, task.artifact, task.samples, task.drop) == (1.0, 0.0, 2, 1.0)


def test_cosine_compares_with_fp32_and_needs_no_label() -> None:
    samples = Listed((np.float32([[1, 2]]), np.float32([[3, -1]])), None)  # type: ignore[arg-type]
    task = score_task(Echo(-1.0), Echo(), samples, metric=load_metric("cosine"))
    assert task.fp32 == 1.0
    assert task.artifact == pytest.approx(-1.0)


def test_a_users_function_gets_outputs_with_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "own_metric.py").write_text(
        "def mean_error(pairs):\n"
        "    errors = [abs(float(outputs['y'][0]) - float(label)) for outputs, label in pairs]\n"
        "    return sum(errors) / len(errors)\n"
        "mean_error.better = 'lower'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    samples = Listed((np.array([1.0]), np.array([5.0])), ("2", "5"))
    metric = load_metric("own_metric:mean_error")
    assert evaluate(Echo(), samples, metric)[0] == 0.5
    assert metric.better == "lower"


def test_an_unknown_metric_or_a_missing_vocabulary_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="top1, cer"):
        load_metric("accuracy")
    with pytest.raises(UsageError, match="characters"):
        load_metric("cer")
    with pytest.raises(UsageError, match="5 classes and the vocabulary 2"):
        decode_ctc(one_hot(1, size=5), "ab")
    with pytest.raises(UsageError, match="cannot be read"):
        read_vocabulary(tmp_path / "none.txt")
    with pytest.raises(UsageError, match="empty"):
        vocabulary_of({})


@pytest.mark.parametrize(
    ("arrays", "labels", "told"),
    [
        ((one_hot(0, size=2),), None, "needs labels"),
        ((), (), "on 0 samples"),
        ((one_hot(0, size=2),), ("cat",), "no class number"),
        ((one_hot(0, size=2),), ("2",), "no class number below 2"),
        ((one_hot(0, size=2),), ("-1",), "no class number"),
        ((one_hot(0, size=2), one_hot(0, size=2)), ("0",), "has no label"),
        ((one_hot(0, 1, size=2),), ("0",), "no batch of one"),
    ],
)
def test_samples_that_do_not_fit_the_metric_are_refused(arrays: Any, labels: Any, told: str) -> None:
    with pytest.raises(SamplesError, match=told):
        evaluate(Echo(), Listed(arrays, labels), load_metric("top1"))


def test_a_metric_that_is_not_a_number_is_refused() -> None:
    samples = Listed((one_hot(0, size=3)[None],), ("",))
    with pytest.raises(SamplesError, match="is nan"):
        evaluate(Echo(), samples, load_metric("cer", vocabulary="ab"))


def test_a_vocabulary_file_keeps_spaces_and_odd_characters(tmp_path: Path) -> None:
    (tmp_path / "v.txt").write_bytes("a\n \n\u2028\n".encode())
    assert read_vocabulary(tmp_path / "v.txt") == ("a", " ", "\u2028")


def test_a_real_ocr_model_reads_a_rendered_word_with_its_own_characters() -> None:
    from PIL import Image, ImageDraw, ImageFont

    found = importlib.util.find_spec("rapidocr_onnxruntime")
    assert found is not None
    assert found.origin is not None
    path = Path(found.origin).parent / "models" / "ch_PP-OCRv4_rec_infer.onnx"
    session = OrtSession(str(path), name="rec")
    image = Image.new("RGB", (160, 48), "white")
    ImageDraw.Draw(image).text((8, 4), "edge 42", "black", font=ImageFont.load_default(32))
    pixels = (np.asarray(image, np.float32) / 255 - 0.5) / 0.5
    feeds = pixels.transpose(2, 0, 1)[None]

    class Renamed:
        def run(self, feeds: Any, taps: Any = ()) -> dict[str, Any]:
            return session.run({session.inputs[0]: feeds["x"]})

    metric = load_metric("cer", vocabulary=vocabulary_of(session.metadata))
    assert evaluate(Renamed(), Listed((feeds,), ("edge 42",)), metric) == (0.0, 1)
