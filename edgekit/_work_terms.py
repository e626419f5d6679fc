"""What latency fits are made of: one inference's work as a dozen sums over its nodes, each never negative."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

    from edgekit._node_work import NodeWork

# Matrix units compute blocks of 32 channels by 32; what a network leaves open in a block is time lost.
BLOCK = 32
# Below this many MACs a number moved, a product waits for memory rather than for arithmetic.
SHALLOW = 100
# A product whose weights are used this often or less is a matrix times a vector: weights are its time.
FEW_USES = 16
# Numbers of one tensor beyond this do not fit a fast memory of 8 MB beside weights and inputs.
FAST_NUMBERS = 2_000_000
# Runtimes of NPUs unroll a recurrence: about so many small operators a step (5,076 layers of 1,408 steps).
OPS_A_STEP = 4
_GIGA, _MEGA = 1e9, 1e6
NO_WORK = frozenset({"Constant", "Identity", "Shape", "Dropout", "Cast"})
TERMS: tuple[str, ...] = (
    "launch", "layers", "dense", "padded", "shallow", "depthwise", "grouped", "attention", "vector_weights",
    "weights", "moved_shallow", "moved_deep", "elementwise", "layout", "reduce", "view",
    "moved_elementwise", "moved_layout", "moved_reduce", "moved_view", "spilled", "in_out", "pixels",
)  # fmt: skip


def sum_terms(nodes: Iterable[NodeWork], in_out: int) -> dict[str, float]:
    """Term -> its sum: MACs in 1e9, numbers moved and weights in 1e6, nodes as counts, `launch` 1.

    `in_out`: numbers that go into the model and come out, which are copied and laid out anew. `padded`,
    `grouped`: MACs with both channel counts (of a group) rounded up to 32; `shallow`: those of dense products
    that move much for what they compute. `moved_*`: numbers read and written, halved. `spilled`: numbers of
    tensors too large for a fast memory. `pixels`: places of pictures that are laid out in blocks of 32
    channels, of which they fill three, before the first convolution can read them.
    """
    total = dict.fromkeys(TERMS, 0.0) | {"launch": 1.0, "in_out": in_out / _MEGA}
    for node in nodes:
        found = _product(node) if node.macs else _other(node)
        for name, value in found.items():
            total[name] += value
    return total


def does_work(node: NodeWork) -> bool:
    """Whether the node costs anything of its own."""
    return node.macs > 0 or not (node.folded or node.op in NO_WORK)


def _product(node: NodeWork) -> dict[str, float]:
    shallow = node.macs < SHALLOW * (node.read + node.written + 1)
    few = node.macs <= FEW_USES * node.weights
    found = {
        "layers": 1.0,
        "vector_weights" if few else "weights": node.weights / _MEGA,
        "moved_shallow" if shallow else "moved_deep": _moved(node),
        "spilled": _spilled(node),
        "elementwise": float(OPS_A_STEP * node.steps),
        "pixels": node.pixels / _MEGA,
    }
    padded = _padded(node) / _GIGA
    if node.kind == "grouped":
        return found | {"grouped": padded}
    if node.kind != "dense":
        return found | {node.kind: node.macs / _GIGA}
    return found | {"dense": node.macs / _GIGA, "padded": padded, "shallow": padded if shallow else 0.0}


def _padded(node: NodeWork) -> float:
    positions = node.macs / node.inner / max(node.outer, 1)
    return positions * node.groups * _round_up(node.inner) * _round_up(math.ceil(node.outer / node.groups))


def _round_up(size: int) -> int:
    return math.ceil(size / BLOCK) * BLOCK


def _other(node: NodeWork) -> dict[str, float]:
    if not does_work(node):
        return {}
    return {node.kind: 1.0, f"moved_{node.kind}": _moved(node), "spilled": _spilled(node)}


def _moved(node: NodeWork) -> float:
    return (node.read + node.written) / 2 / _MEGA


def _spilled(node: NodeWork) -> float:
    return max(0, node.written - FAST_NUMBERS) / _MEGA
