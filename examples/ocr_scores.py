"""Scores of PP-OCRv4's recognizer and angle classifier: greedy CTC text, character errors, exact matches."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import onnxruntime as ort

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True)
class TextScore:
    """`exact`: share of words read without an error. `cer`: edits per character of the truth."""

    words: int
    exact: float
    cer: float


def read_alphabet(model: Path) -> tuple[str, ...]:
    """The recognizer's classes as text: blank, the characters in the model's metadata, space."""
    session = ort.InferenceSession(model, providers=["CPUExecutionProvider"])
    characters = session.get_modelmeta().custom_metadata_map["character"].splitlines()
    return ("", *characters, " ")


def decode_text(probabilities: NDArray[np.float32], alphabet: tuple[str, ...]) -> str:
    """Greedy CTC over [1, steps, classes]: repeats collapse, blanks (class 0) go, edge spaces go."""
    best = probabilities[0].argmax(axis=-1).tolist()
    kept = [now for before, now in zip([0, *best], best, strict=False) if now not in (0, before)]
    return "".join(alphabet[index] for index in kept).strip()


def score_texts(read: Sequence[str], truth: Sequence[str]) -> TextScore:
    """Compare what was read with what was written."""
    edits = sum(count_edits(a, b) for a, b in zip(read, truth, strict=True))
    exact = sum(a == b for a, b in zip(read, truth, strict=True))
    return TextScore(len(truth), exact / len(truth), edits / sum(map(len, truth)))


def count_edits(read: str, truth: str) -> int:
    """Levenshtein distance: insertions, deletions and replacements."""
    row = list(range(len(truth) + 1))
    for i, a in enumerate(read, 1):
        previous, row[0] = row[0], i
        for j, b in enumerate(truth, 1):
            previous, row[j] = row[j], min(row[j] + 1, row[j - 1] + 1, previous + (a != b))
    return row[-1]
