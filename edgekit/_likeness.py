"""What sums of work leave out: models that resemble each other are wrong by the same share.

A model is a point of nine logarithms (how much of what it does); each fitted model pulls the prediction
of those near it by what its own was off.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

    from edgekit.profiles.read_fits import Likeness

_MACS = ("dense", "depthwise", "grouped", "attention")
_MOVED = ("moved_shallow", "moved_deep", "moved_elementwise", "moved_layout", "moved_reduce")


def describe(terms: Mapping[str, float]) -> tuple[float, ...]:
    """The nine logarithms: sizes (MACs, numbers moved, weights, layers, other nodes, in and out) and shares.

    Small constants keep what is zero finite.
    """
    macs = sum(terms[name] for name in _MACS) + 1e-3
    moved = sum(terms[name] for name in _MOVED) + 1e-3
    others = terms["elementwise"] + terms["layout"] + terms["reduce"]
    return (
        math.log(macs),
        math.log(moved),
        math.log(terms["weights"] + terms["vector_weights"] + 0.01),
        math.log(terms["layers"] + 1),
        math.log(others + 1),
        math.log(terms["in_out"] + 0.01),
        math.log((terms["depthwise"] + 1e-3) / macs),
        math.log((terms["moved_elementwise"] + 1e-2) / moved),
        math.log((terms["attention"] + 1e-3) / macs),
    )


def pull_towards(terms: Mapping[str, float], fit: Likeness) -> float:
    """The factor on a family fit's figure: 1 far from every fitted model."""
    place = [
        (value - mean) / spread
        for value, mean, spread in zip(describe(terms), fit.means, fit.spreads, strict=True)
    ]
    total = 0.0
    for at, weight in fit.graphs:
        distance = sum((one - other) ** 2 for one, other in zip(place, at, strict=True))
        total += weight * math.exp(-distance / (2 * fit.reach**2))
    return math.exp(total)
