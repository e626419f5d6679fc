"""The examples: labelled text is what it says, scores follow their definitions, the demo runs."""

from __future__ import annotations

import csv
from typing import TYPE_CHECKING

import numpy as np
import pytest

from examples import demo
from examples.ocr_scores import count_edits, decode_text, score_texts
from examples.rendered_text import list_words, render_words, save_samples, to_rec_input
from examples.word_looks import DEFAULT_LOOK, LOOKS

if TYPE_CHECKING:
    from pathlib import Path


def test_calibration_and_test_share_no_word() -> None:
    assert not set(list_words("calibration")) & set(list_words("test"))


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_keeps_its_height_and_renders_the_same_pixels_again(look: str) -> None:
    words = render_words("test", 20, look=look)
    for word in words:
        height, rule = word.image.shape[0], LOOKS[look]
        if rule.fixed_height is not None:
            assert height == rule.fixed_height
        else:
            low, high = rule.heights
            assert int(rule.sizes[0] * low) <= height <= rule.sizes[1] * high
    again = render_words("test", 20, look=look)
    assert all(np.array_equal(a.image, b.image) for a, b in zip(words, again, strict=True))


def test_looks_differ_and_the_default_is_one_of_them() -> None:
    first = {look: render_words("test", 1, look=look)[0].image.shape for look in LOOKS}
    assert first[DEFAULT_LOOK] == render_words("test", 1)[0].image.shape
    assert first["line-48"] != first["loose"]


def test_samples_lie_beside_their_labels(tmp_path: Path) -> None:
    words = render_words("calibration", 3)
    texts = [word.text for word in words]
    save_samples((to_rec_input(word.image) for word in words), tmp_path, labels=texts)
    with (tmp_path / "labels.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert [row["label"] for row in rows] == texts
    for row, word in zip(rows, words, strict=True):
        with np.load(tmp_path / row["file"], allow_pickle=False) as content:
            assert np.array_equal(content["x"], to_rec_input(word.image))


@pytest.mark.parametrize(
    ("read", "truth", "edits"),
    [("kitten", "sitting", 3), ("", "abc", 3), ("abc", "", 3), ("same", "same", 0), ("ab", "ba", 2)],
)
def test_edits_are_levenshteins(read: str, truth: str, edits: int) -> None:
    assert count_edits(read, truth) == edits


def test_scores_count_words_and_characters() -> None:
    score = score_texts(["cat", "dig"], ["cat", "dog"])
    assert (score.words, score.exact, score.cer) == (2, 0.5, 1 / 6)


def test_ctc_collapses_repeats_and_keeps_letters_that_a_blank_parts() -> None:
    steps = [1, 1, 0, 1, 2, 2, 3]  # a a - a b b space
    probabilities = np.eye(4, dtype=np.float32)[steps][None]
    assert decode_text(probabilities, ("", "a", "b", " ")) == "aab"


def test_the_demo_converts_scores_and_prints_every_row(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("EDGEKIT_CACHE", str(tmp_path / "cache"))
    for name, value in {"TASKS": demo.TASKS[1:], "CALIBRATION": 16, "TEST": 16}.items():
        monkeypatch.setattr(demo, name, value)
    monkeypatch.setattr("sys.argv", ["demo"])
    assert demo.main() == 0
    printed = capsys.readouterr().out
    assert all(row in printed for row in ("cls fp32", "cls int8, jetson-orin", "cls int8, ort-mobile"))
    assert list((tmp_path / "demo-out" / "cls").glob("*/manifest.json"))
