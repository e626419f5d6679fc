"""How a Reshape follows an order of axes: axes that are split or merged in place need no transpose."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Sequence

    Perm = tuple[int, ...]
    Block = tuple[list[int], list[int]]


def follow_reshape(before: Sequence[int], after: Sequence[int], perm: Perm) -> Perm | None:
    """The order of the result's axes where data of logical shape `before` lie in order `perm`.

    None where the values' order in memory would change: axes merge that are not neighbours there.
    """
    blocks = _blocks(before, after)
    if blocks is None:
        return None
    starts = [_start(before, axes, perm) for axes, _ in blocks]
    real = sorted(perm[axis] for axis in range(len(before)) if before[axis] != 1)
    for axes, _ in blocks:
        ranks = [real.index(perm[axis]) for axis in axes if before[axis] != 1]
        if ranks and ranks != list(range(ranks[0], ranks[0] + len(ranks))):
            return None
    ordered = sorted(zip(starts, (made for _, made in blocks), strict=True))
    order = [axis for _, made in ordered for axis in made]
    return tuple(order.index(axis) for axis in range(len(after)))


def order_for_reshape(before: Sequence[int], after: Sequence[int], perm: Perm) -> Perm | None:
    """The order nearest to `perm` that `follow_reshape` can follow: axes that merge become neighbours."""
    blocks = _blocks(before, after)
    if blocks is None:
        return None
    ordered = sorted(blocks, key=lambda block: _start(before, block[0], perm))
    order = [axis for axes, _ in ordered for axis in axes]
    return tuple(order.index(axis) for axis in range(len(before)))


def _start(before: Sequence[int], axes: Sequence[int], perm: Perm) -> int:
    """Where the first of these axes lies; axes of 1 lie anywhere."""
    return min((perm[axis] for axis in axes if before[axis] != 1), default=perm[axes[0]])


def _blocks(before: Sequence[int], after: Sequence[int]) -> list[Block] | None:
    """The smallest runs of axes with equal products; axes of 1 go with the run before them."""
    blocks: list[Block] = []
    i = j = 0
    while i < len(before) and j < len(after):
        axes, made = [i], [j]
        left, right = before[i], after[j]
        i, j = i + 1, j + 1
        while left != right:
            if left < right and i < len(before):
                left, axes, i = left * before[i], [*axes, i], i + 1
            elif right < left and j < len(after):
                right, made, j = right * after[j], [*made, j], j + 1
            else:
                return None
        blocks.append((axes, made))
    if not blocks or any(size != 1 for size in (*before[i:], *after[j:])):
        return None
    blocks[-1][0].extend(range(i, len(before)))
    blocks[-1][1].extend(range(j, len(after)))
    return blocks
