"""How rendered words are cut out of their page: named looks, each a row of a frozen table.

INT8 accuracy of PP-OCRv4's recognizer depends on the cut as much as on the quantizer, so no single look
tells it: benchmarks/ocr_accuracy.py prints them all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Look:
    """Ranges that a seeded draw stays in; lengths in pixels, the high end of a pair is left out.

    `sizes`: of the font. `margins`: left and right together. `heights`: of the crop, times the font size,
    or pixels where `fixed_height` is given. `shift`: most that a word lies above or below the middle.
    """

    sizes: tuple[int, int]
    margins: tuple[int, int]
    shift: float
    heights: tuple[float, float] = (0.0, 0.0)
    fixed_height: int | None = None


LOOKS = {
    "line-48": Look(sizes=(24, 38), margins=(8, 25), shift=2, fixed_height=48),
    "tight-1.30": Look(sizes=(34, 42), margins=(6, 20), shift=1, heights=(1.15, 1.30)),
    "tight-1.32": Look(sizes=(34, 42), margins=(6, 20), shift=1, heights=(1.15, 1.32)),
    "tight-1.35": Look(sizes=(34, 42), margins=(6, 20), shift=1, heights=(1.15, 1.35)),
    # Written down before any quantizer had read a word of it, so nothing was chosen by its figures.
    "loose": Look(sizes=(28, 48), margins=(12, 40), shift=2, heights=(1.20, 1.60)),
}

# Chosen, and not blindly: after about ten tries on the same test words, this is the one on which
# onnxruntime's own quantizer came nearest to an earlier measurement (.970 exact with uint8, .913 with
# symmetric int8). edgekit had not read any of them by then, but a figure on this look alone is no figure
# on untouched data.
DEFAULT_LOOK = "tight-1.32"
