"""What decides over a node's precision besides the placement table, and how a decision is told."""

from __future__ import annotations

from dataclasses import dataclass, field
from difflib import get_close_matches
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from edgekit._qdq.quantize_all import ALL
from edgekit.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    import onnx_ir as ir

    from edgekit._qdq.round_layers import RoundedLayer
    from edgekit._schemes import Scheme
    from edgekit._values import RoundingChoice


@dataclass(frozen=True)
class Widening:
    """Nodes that compute on 16-bit activations of `scheme` instead of the graph's own; weights stay int8."""

    scheme: Scheme
    nodes: frozenset[str]


@dataclass(frozen=True)
class Steering:
    """What the user pinned: nodes that stay float, and (if any) the only op types to quantize.

    searched: nodes that a search leaves in float. clipped: the tensors whose range the observer may cut,
    all others keep their extremes; None: as the observer settled every one. wide: nodes that a search
    computes in 16 bits. rounded: how the integer weights of nodes were chosen, where not to the nearest.
    front_end: nodes that only logarithms read, where those stay float.
    """

    float_nodes: frozenset[str] = frozenset()
    only_ops: frozenset[str] = frozenset()
    searched: frozenset[str] = frozenset()
    clipped: frozenset[str] | None = None
    wide: Widening | None = None
    rounded: Mapping[str, RoundedLayer] = field(default_factory=dict)
    front_end: frozenset[str] = frozenset()

    def allows(self, node: ir.Node) -> bool:
        pinned = node.name in self.float_nodes | self.searched | self.front_end
        return not pinned and (not self.only_ops or node.op_type in self.only_ops)

    @property
    def wants_all(self) -> bool:
        """Every float tensor is to be quantized, whatever the op: `--only all`."""
        return ALL in self.only_ops

    def explain(self, node: ir.Node) -> str:
        """Why a node that is not allowed stays float."""
        if node.name in self.float_nodes:
            return "kept float by the user"
        if node.name in self.front_end:
            return "only logarithms read what comes of it: the samples show that int8 lacks small numbers"
        searched = node.name in self.searched
        return "left in float by the search for --max-drop" if searched else "kept float by the user"


def steer(graph: ir.Graph, float_nodes: Iterable[str], only_ops: Iterable[str]) -> Steering:
    """What the user pinned, by names or patterns of names; ModelError where no node is called so."""
    names = {str(node.name) for node in graph}
    kept = set[str]()
    for word in float_nodes:
        # Exporters' names hold brackets and asterisks too.
        found = {word} & names or {name for name in names if fnmatchcase(name, word)}
        if not found:
            close = get_close_matches(word, names, n=1)
            near = f"did you mean '{close[0]}'?" if close else "`edgekit inspect` lists the nodes"
            raise ModelError(f"--float names '{word}', and no node is called so", fix=near)
        kept |= found
    return Steering(frozenset(kept), frozenset(only_ops))


@dataclass(frozen=True)
class Mix:
    """What a search decided: nodes in float or in 16 bits, tensors whose range is cut, AdaRound or not."""

    float_nodes: frozenset[str] = frozenset()
    clipped: frozenset[str] = frozenset()
    wide: Widening | None = None
    rounding: RoundingChoice = "nearest"


@dataclass(frozen=True)
class Decision:
    """Why one node is int8 or float: a line of the decision table in the bundle."""

    node: str
    op: str
    precision: str
    reason: str
