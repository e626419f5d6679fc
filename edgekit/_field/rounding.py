"""How far a variant's own arithmetic moves its outputs from fp32, by the bundle's proof: that is no drift."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

from edgekit._bundle import read_parities

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping

    from edgekit._bundle import Bundle
    from edgekit._verify import Golden


def find_roundings(component: str, variants: Collection[str], bundle: Bundle) -> dict[str, float]:
    """By output, the root of the mean squared error against fp32 on the golden data, in its own unit.

    Of the worst of the `variants` that a fleet runs ("" stands for any). An output that was not proven, or
    whose SQNR is not finite, is left out.
    """
    levels = _levels(bundle.stored_golden(component))
    found: dict[str, float] = {}
    for parity in read_parities(bundle):
        if parity.component != component or not {"", parity.variant} & set(variants):
            continue
        for row in parity.against_fp32:
            error = levels.get(row.output, 0.0) * 10 ** (-row.sqnr_db / 20)
            if math.isfinite(error) and error > 0:
                found[row.output] = max(error, found.get(row.output, 0.0))
    return found


def worst_roundings(
    by_variant: Mapping[str, Mapping[str, float]], variants: Collection[str]
) -> dict[str, float]:
    """By inner tensor, the most that one of the `variants` a fleet runs ("" stands for any) may be off."""
    found: dict[str, float] = {}
    for variant, errors in by_variant.items():
        for name, error in errors.items() if {"", variant} & set(variants) else ():
            found[name] = max(error, found.get(name, 0.0))
    return found


def _levels(golden: Golden) -> dict[str, float]:
    """The root of the mean square of what fp32 gives, by output."""
    arrays: dict[str, list[np.ndarray]] = {}
    for sample in golden.samples:
        for name, array in sample.fp32.items():
            arrays.setdefault(name, []).append(array)
    whole = {name: np.concatenate(some, axis=None, dtype=np.float64) for name, some in arrays.items()}
    return {name: float(np.sqrt(np.mean(one**2))) for name, one in whole.items() if one.size}
