"""The fewest layers that are enough, found by few tries."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from edgekit._search.sensitivity import LayerCost

# Tries that give layers back to int8, once enough are in 16 bits or in float.
_MOST_RETURNS = 8


def names_of(layers: Sequence[LayerCost]) -> frozenset[str]:
    """The nodes of all these layers."""
    return frozenset(name for layer in layers for name in layer.nodes)


def gallop(most: int, enough: Callable[[int], bool]) -> int | None:
    """The smallest count that is enough, if enough stays enough; None where not even all are."""
    low, high = 0, min(1, most)
    while not (high and enough(high)):
        if high == most:
            return None
        low, high = high, min(2 * high, most)
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if enough(middle) else (middle, high)
    return high


def give_back(
    layers: Sequence[LayerCost], enough: Callable[[Sequence[LayerCost]], bool], most: int = _MOST_RETURNS
) -> list[LayerCost]:
    """The layers less those that int8 can have back: halves of them first, then halves of those.

    What the ranking took too early is mended so; layers with the most MACs are tried first. At most
    `most` calls of `enough`.
    """
    kept = sorted(layers, key=lambda layer: -layer.macs)
    size, calls = len(kept) // 2, 0
    while size and calls < most:
        start = 0
        while start < len(kept) and calls < most and len(kept) > 1:
            left = kept[:start] + kept[start + size :]
            calls += 1
            if left and enough(left):
                kept = left
            else:
                start += size
        size //= 2
    return kept
