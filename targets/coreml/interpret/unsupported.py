"""What a formula raises for a value it has no meaning for, and the bound it asks for before it allocates."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

# One tensor may have this many elements at most; real models stay far below.
MAX_ELEMENTS = 1 << 30


class Unsupported(Exception):  # noqa: N818 - a formula's answer, not an edgekit error by itself
    """This interpreter has no formula for what the operation asks."""


def refuse_huge(shape: Sequence[int]) -> None:
    """Unsupported for a result with more than MAX_ELEMENTS elements, or a negative dim."""
    if any(size < 0 for size in shape) or math.prod(shape) > MAX_ELEMENTS:
        raise Unsupported(f"shape {list(shape)} is negative or has more than {MAX_ELEMENTS} elements")
